package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/kube"
)

// A file of values is somebody's; whatever is in it, it is read or refused.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"name: x\n", "env: {A: 1}", "command: [a, b]", "- a", "name: &a x\nnamespace: *a", "? {a: b}\n: c", "pids: many", "registry-ca:\n  a: [b]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		flags := &kubeFlags{Options: kube.Defaults()}
		cmd := &cobra.Command{Use: "job"}
		flags.register(cmd)
		_ = setValues(cmd.Flags(), "values.yaml", data, &flags.Command)
	})
}

// Nothing is printed of a file that says something else than it seems to.
func TestValuesRefused(t *testing.T) {
	job := []string{"job", "--name", "x", "--client-image", "docker:cli"}
	for _, test := range []struct {
		verb []string
		text string
		want string
	}{
		{job, "memory: 4Gi\n---\nmemory: 8Gi\n", ":2: a second document"},
		{job, "memory: 4Gi\n---\n{", "v.yaml: yaml"},
		{job, "memory: 4Gi\nmemory: 8Gi\n", ":2: memory: this key is there twice"},
		{job, "env:\n  A: 1\n  A: 2\n", ":1: env: line 3: A is there already, on line 2"},
		{job, "env: [A=1, A=2]\n", "--env: A is there twice"},
		{job, "env:\n  A: null\n", ":1: env: line 2: null is no text"},
		{job, "env:\n  A:\n", ":1: env: line 2: null is no text"},
		{job, "command:\n- echo\n- ~\n", ":1: command: line 3: null is no text"},
		{[]string{"mirror", "--size", "1Gi"}, "command: [a]\n", `:1: unknown key "command"`},
		{[]string{"mirror", "--size", "1Gi"}, "allow-from: [a=1, a=2]\n", "--allow-from a=2: a is there already"},
	} {
		path := filepath.Join(t.TempDir(), "v.yaml")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{"kube"}, test.verb...), "-f", path)
		status, out, stderr := invoke(t, machine(), args...)
		if status != 2 || out != "" || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v with %q: status %d, %q, stderr %q; want %q", test.verb, test.text, status, out, stderr, test.want)
		}
	}
}

func TestValuesTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.yaml")
	for _, text := range []string{"", "# nothing\n", "---\nmemory: 4Gi\n", "memory:\nenv: {A: \"null\", B: \"\"}\n", "command: [echo, echo]\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, out, stderr := invoke(t, machine(), "kube", "job", "--name", "x", "--client-image", "docker:cli", "-f", path); status != 0 || out == "" || stderr != "" {
			t.Errorf("%q: status %d, stderr %q", text, status, stderr)
		}
	}
}

func TestLargeManifestNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.yaml")
	if err := os.WriteFile(path, []byte("env: {A: "+strings.Repeat("x", 256<<10)+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, stderr := invoke(t, machine(), "kube", "job", "--name", "x", "--client-image", "docker:cli", "-f", path)
	want := "berth: Job/x: too large for plain `kubectl apply`; use `kubectl apply --server-side`\n"
	if status != 0 || !strings.Contains(out, "kind: Job") || stderr != want {
		t.Errorf("status %d, stderr %q; want %q", status, stderr, want)
	}
}
