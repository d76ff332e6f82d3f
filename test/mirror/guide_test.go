package mirror

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/trust"
	"github.com/berth-dev/berth/test/image"
)

// marked returns the blocks of a page of the guide that follow a marker.
func marked(t *testing.T, page, marker, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/guide", page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "<!-- "+marker+" -->\n")[1:] {
		code, ok := strings.CutPrefix(part, "```"+language+"\n")
		block, _, closed := strings.Cut(code, "\n```")
		if !ok || !closed {
			t.Errorf("%s: %s is not followed by a block of %s", page, marker, language)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// TestGuide runs the commands of the guide's pages as a reader would, in one shell each. A
// `berth` first on PATH has mirrors in the background, one at a time, and says what the
// test's network needs: that its registry stands for all that the pages name.
func TestGuide(t *testing.T) {
	for _, page := range []string{"mirror.md", "registries.md"} {
		t.Run(page, func(t *testing.T) {
			guard(t)
			f := newFront(t, "", "")
			for _, name := range []string{"library/debian:12", "library/busybox:latest", "org/app:1", "app:latest"} {
				f.push(t, name, image.Options{Label: name})
			}
			blocks := marked(t, page, "test: mirror", "sh")
			if len(blocks) == 0 {
				t.Fatal("no commands; are they still marked?")
			}
			dir := t.TempDir()
			write(t, filepath.Join(dir, "ca.pem"), read(t, f.CAFile))
			script := strings.NewReplacer("registry.example:5000", f.Address, "mirror.example\"", f.Address+"\"").Replace(strings.Join(blocks, "\n"))
			ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+readersPath(t, f)+":"+os.Getenv("PATH"), "HOME="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s\n-- said --\n%s", err, script, out)
			}
		})
	}
}

// readersPath makes a directory for PATH with the berth of TestGuide, and a sudo that needs no
// password. The mirror ends with the test.
func readersPath(t *testing.T, f *front) string {
	t.Helper()
	plain := httptest.NewServer(proxyTo(f.backend))
	t.Cleanup(plain.Close)
	dir := t.TempDir()
	stop := fmt.Sprintf("if [ -e %[1]s/pid ]; then kill $(cat %[1]s/pid); while [ -e /proc/$(cat %[1]s/pid) ]; do sleep 0.02; done; rm %[1]s/pid; fi\n", dir)
	write(t, filepath.Join(dir, "stop"), stop)
	write(t, filepath.Join(dir, "sudo"), "#!/bin/sh\nexec \"$@\"\n")
	write(t, filepath.Join(dir, "berth"), fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"mirror serve")
	shift 2
	. %[1]s/stop
	%[2]s mirror serve --upstream docker.io=%[3]s --upstream ghcr.io=%[3]s "$@" >%[1]s/log 2>&1 &
	echo $! >%[1]s/pid
	until grep -q ready %[1]s/log; do [ -e /proc/$! ] || { cat %[1]s/log; exit 1; }; sleep 0.02; done ;;
"run "*)
	shift
	exec %[2]s run --registry-ca %[4]s=%[5]s --add-host %[6]s:host-gateway "$@" ;;
*) exec %[2]s "$@" ;;
esac
`, dir, berthProgram, plain.URL, f.Address, f.CAFile, registryHost))
	for _, name := range []string{"sudo", "berth"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("sh", filepath.Join(dir, "stop")).CombinedOutput(); err != nil {
			t.Errorf("stop the mirror: %v %s", err, out)
		}
		forget(t)
	})
	return dir
}

// TestGuideConfiguration: the configuration file of the guide is right, with the files that it
// names.
func TestGuideConfiguration(t *testing.T) {
	blocks := marked(t, "mirror.md", "test: config", "toml")
	if len(blocks) != 1 {
		t.Fatalf("%d configuration files", len(blocks))
	}
	dir := t.TempDir()
	if _, err := trust.OpenAuthority(dir, "Corp Root CA"); err != nil { // ca.crt and ca.key
		t.Fatal(err)
	}
	for name, from := range map[string]string{"corp-root.pem": "ca.crt", "registry.pem": "ca.crt", "client.cert": "ca.crt", "client.key": "ca.key"} {
		write(t, filepath.Join(dir, name), read(t, filepath.Join(dir, from)))
	}
	write(t, filepath.Join(dir, "registry-password"), "secret\n")
	write(t, filepath.Join(dir, "berth.toml"), blocks[0])
	if out := must(t, "config", "check", filepath.Join(dir, "berth.toml")); !strings.Contains(out, "is right") {
		t.Errorf("config check: %s", out)
	}
	// It reads what the file names, indeed.
	if err := os.Remove(filepath.Join(dir, "client.key")); err != nil {
		t.Fatal(err)
	}
	if r := berth(t, "config", "check", filepath.Join(dir, "berth.toml")); r.code == 0 || !strings.Contains(r.stderr, "client.key") {
		t.Errorf("without client.key: %d %s", r.code, r.stderr)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
