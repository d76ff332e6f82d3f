package dind

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
