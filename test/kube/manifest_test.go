package kube

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/template"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// render fills in a manifest of testdata: .Image is berth's, .Busy the small one, .Registry
// the private registry's name, .CA its authority. extra adds to these or replaces them.
func render(t testing.TB, name string, extra map[string]any) string {
	t.Helper()
	ca, err := os.ReadFile(companyStore.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"Image": berthImage, "Busy": cluster.BusyImage, "Registry": companyStore.Host, "CA": string(ca)}
	for key, value := range extra {
		values[key] = value
	}
	funcs := template.FuncMap{"indent": func(text string) string {
		return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	}}
	parsed, err := template.New(name).Funcs(funcs).ParseFiles("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// written is what `berth kube` writes for these arguments.
func written(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(berthProgram, append([]string{"kube"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("berth kube %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// workload is `berth kube KIND` with berth's image for both containers, the private registry
// trusted, and a shell script as the client.
func workload(t testing.TB, kind, script string, flags ...string) string {
	t.Helper()
	args := []string{kind, "--name", "build", "--image", berthImage, "--client-image", berthImage, "--grace", "2",
		"--registry-ca", fmt.Sprintf("%s=%s", companyStore.Host, companyStore.CAFile)}
	args = append(args, flags...)
	return written(t, append(args, "--", "sh", "-c", script)...)
}
