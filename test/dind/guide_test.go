package dind

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var marked = regexp.MustCompile("(?s)<!-- test: dind -->\n```sh\n(.*?)```")

// The commands of the guide's page work as they stand there.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/dind.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := marked.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 2 {
		t.Fatalf("only %d blocks of commands found; are they still marked?", len(blocks))
	}
	h := current(t)
	bin := t.TempDir()
	docker := "#!/bin/sh\nexec '" + strings.Join(h.cli, "' '") + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	env := append(h.env[:len(h.env):len(h.env)], "PATH="+bin+":"+os.Getenv("PATH"))
	for _, block := range blocks {
		if r, err := run(env, "sh", "-exc", block[1]); err != nil || r.code != 0 {
			t.Errorf("%v, %s", err, r)
		}
	}
}

var snippet = regexp.MustCompile("(?s)(<!-- test: dind compose -->\n)?```yaml\n(.*?)```")

// Every YAML of the page is YAML, and docker compose runs its file.
func TestGuideYAML(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/dind.md")
	if err != nil {
		t.Fatal(err)
	}
	composed := ""
	for _, m := range snippet.FindAllStringSubmatch(string(text), -1) {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(m[2]), &v); err != nil || len(v) == 0 {
			t.Errorf("%v in\n%s", err, m[2])
		}
		if m[1] != "" {
			composed = m[2]
		}
	}
	if composed == "" {
		t.Fatal("the file for docker compose is not marked any more")
	}
	h := current(t)
	path := file(t, "compose.yaml", composed)
	compose := func(args ...string) result {
		return h.try(t, append([]string{"compose", "--project-name", "guide", "-f", path}, args...)...)
	}
	t.Cleanup(func() {
		if r := compose("down", "-v"); r.code != 0 {
			t.Error(r)
		}
	})
	r := compose("up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "job")
	if r.code != 0 {
		t.Fatal(r)
	}
	want(t, "what the job says", r.stdout, "Storage Driver")
}
