package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An engine's data root works on every file system that a host may have.
func TestFileSystems(t *testing.T) {
	guard(t)
	for _, fs := range []struct {
		kind string
		mkfs []string
	}{
		{"ext4", []string{"mkfs.ext4", "-q", "-F"}},
		{"xfs", []string{"mkfs.xfs", "-q", "-f"}},
		{"btrfs", []string{"mkfs.btrfs", "-q", "-f"}},
		{"tmpfs", nil},
	} {
		t.Run(fs.kind, func(t *testing.T) {
			guard(t)
			state := stateOn(t, fs.kind, fs.mkfs)
			cmd := command(t, []string{"BERTH_STATE_DIR=" + state}, "run", "--", "sh", "-ec",
				"docker load -q -i "+imageTar+"; docker info -f '{{.Driver}}'\n"+
					"docker run --name box "+imageName+" sh -c 'cat /greeting; rm /greeting; ls /opaque; mkdir /d; chown 5:5 /d'\n"+
					"docker commit box two >/dev/null; docker run --rm two sh -c 'ls /greeting; stat -c %u /d'")
			r := finish(t, cmd)
			for _, text := range []string{"overlayfs\nhello from five layers\nnew\n", "5\n"} {
				want(t, "work on "+fs.kind, r.stdout, text)
			}
			want(t, "a file removed in a layer", r.stderr, "/greeting: No such file")
		})
	}
}

// stateOn makes a state directory on a fresh file system, with the payload that
// is extracted already.
func stateOn(t *testing.T, kind string, mkfs []string, options ...string) string {
	t.Helper()
	base := t.TempDir()
	state := filepath.Join(base, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-t", kind}, options...)
	if mkfs == nil {
		args = append(args, kind, state)
	} else {
		args = append(args, "-o", "loop", makeFileSystem(t, kind, filepath.Join(base, "image"), mkfs), state)
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("this machine cannot mount %s: %s", kind, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(state, 0); err != nil {
			t.Errorf("%s is still in use: %v", state, err)
			_ = unix.Unmount(state, unix.MNT_DETACH)
		}
	})
	bindPayload(t, state)
	return state
}

func makeFileSystem(t *testing.T, kind, file string, mkfs []string) string {
	t.Helper()
	program, err := exec.LookPath(mkfs[0])
	if err != nil {
		t.Skipf("%s is not installed (Debian: %s)", mkfs[0], map[string]string{"xfs": "xfsprogs", "btrfs": "btrfs-progs", "ext4": "e2fsprogs"}[kind])
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 512<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append(mkfs[1:], file)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", mkfs, out)
	}
	return file
}

// bindPayload spares extracting the payload again.
func bindPayload(t *testing.T, state string) {
	t.Helper()
	payload := filepath.Join(state, "payload")
	if err := os.Mkdir(payload, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/var/lib/berth/payload", payload, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(payload, 0); err != nil {
			t.Errorf("the payload is still in use: %v", err)
			_ = unix.Unmount(payload, unix.MNT_DETACH)
		}
	})
}

// A disk that is full when an engine starts is one clear line.
func TestDiskFullWhileStarting(t *testing.T) {
	guard(t)
	state := stateOn(t, "tmpfs", nil, "-o", "size=64k")
	for _, dir := range []string{"engines", "trash"} {
		if err := os.Mkdir(filepath.Join(state, dir), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	r := finish(t, command(t, []string{"BERTH_STATE_DIR=" + state}, "run", "--", "true"))
	if r.code != 125 {
		t.Errorf("want status 125, got %s", r)
	}
	oneLine(t, r, "no space")
	entries, err := os.ReadDir(filepath.Join(state, "engines"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left in the state directory: %v %v", entries, err)
	}
}
