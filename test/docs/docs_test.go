// Package docs runs the commands of the README, the quick start and the guide, as they
// stand there: every block of shell that follows the comment <!-- test -->.
//
// The sandbox has no Internet, so Docker Hub is a registry of the test's own: a `berth`
// that is put first on PATH tells engines of it, and is otherwise the real one. What is
// left behind by a page fails its test.
package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
	"github.com/berth-dev/berth/test/sandbox"
)

const root = "../.."

// limit is how long the commands of one page may take.
const limit = 3 * time.Minute

func TestMain(m *testing.M) { os.Exit(sandbox.Run(m.Run)) }

// pages lists the files with commands in them.
func pages(t *testing.T) []string {
	t.Helper()
	guide, err := filepath.Glob(filepath.Join(root, "docs/guide/*.md"))
	if err != nil || len(guide) < 5 {
		t.Fatalf("the guide is not there: %v %v", guide, err)
	}
	return append([]string{filepath.Join(root, "README.md"), filepath.Join(root, "docs/quickstart.md")}, guide...)
}

func TestCommands(t *testing.T) {
	bin := programs(t)
	ran := 0
	for _, page := range pages(t) {
		blocks := tested(t, page)
		ran += len(blocks)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			leak.Guard(t, leak.Scope{All: true, Files: []string{"/run", "/tmp", "/var/lib"}, Skip: []string{"/var/lib/berth/payload"}})
			play(t, bin, blocks)
		})
	}
	if ran < 10 {
		t.Errorf("only %d blocks of commands found; are they still marked?", ran)
	}
}

// play runs a page's blocks one after another in one shell, as a reader would.
func play(t *testing.T, bin string, blocks []string) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	home, err := os.MkdirTemp("/home", "reader-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(blocks, "\n"))
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n-- said --\n%s", err, strings.Join(blocks, "\n"), out)
	}
}

// tested returns the blocks of shell in a page that follow the marker.
func tested(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "<!-- test -->\n")[1:] {
		code, ok := strings.CutPrefix(part, "```sh\n")
		block, _, closed := strings.Cut(code, "\n```")
		if !ok || !closed {
			t.Errorf("%s: <!-- test --> is not followed by a block of sh", page)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// programs makes a directory with a berth that knows the test's registry, and a sudo that
// needs no password: the tests are root already.
func programs(t *testing.T) string {
	t.Helper()
	path := os.Getenv("BERTH")
	if path == "" {
		path = filepath.Join(root, "bin/berth")
	}
	berth, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(berth); err != nil {
		t.Fatalf("%v; build it with `make build`, or set BERTH", err)
	}
	for _, args := range [][]string{{"run", "--", "true"}, {"gc"}} { // unpacks the payload, makes the directories
		if out, err := exec.Command(berth, args...).CombinedOutput(); err != nil {
			t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	dir := t.TempDir()
	hub := hub(t)
	cache, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), Host: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	t.Setenv("CACHE", cache.Address()+"/ci/cache:main")
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(bin, "sudo"), "#!/bin/sh\nexec \"$@\"\n", 0o755)
	write(t, filepath.Join(bin, "berth"), fmt.Sprintf(`#!/bin/sh
verb=$1
case $verb in
run | up) shift; exec %[1]s "$verb" --registry-ca docker.io=%[2]s --registry-ca %[3]s=%[2]s --add-host %[3]s:host-gateway "$@" ;;
snapshot)
	case $2 in push | pull) verb=$2; shift 2; exec %[1]s snapshot $verb --registry-ca %[4]s=%[5]s "$@" ;; esac
	if [ "$2" = create ] && [ "$4" != --from ]; then shift 2; set -- "$verb" create --registry-ca docker.io=%[2]s --registry-ca %[3]s=%[2]s --add-host %[3]s:host-gateway "$@"; fi; exec %[1]s "$@" ;;
*) exec %[1]s "$@" ;;
esac
`, berth, hub.CAFile, hubName, cache.Address(), cache.CAFile), 0o755)
	return bin
}

// hubName is the host that dockerd asks for images of docker.io.
const hubName = "registry-1.docker.io"

// hub is a registry with the images that the pages use.
func hub(t *testing.T) *registry.Registry {
	t.Helper()
	reg, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), Host: hubName, Port: 443})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	img, err := image.Build(image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"busybox", "hello-world"} {
		if err := image.Push(reg.Address()+"/library/"+name+":latest", img, reg.Transport(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return reg
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// TestLinks follows the links between the repository's own pages.
func TestLinks(t *testing.T) {
	more, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages(t), more...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for rest := text; ; {
			_, after, found := bytes.Cut(rest, []byte("]("))
			if !found {
				break
			}
			target, _, _ := strings.Cut(string(after), ")")
			rest = after
			if strings.Contains(target, "://") || strings.HasPrefix(target, "#") {
				continue
			}
			file, _, _ := strings.Cut(target, "#")
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), file)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, target)
			}
		}
	}
}
