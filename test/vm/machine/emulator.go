package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const hostEmulator = "qemu-system-x86_64"

// emulatorPackages are unpacked from a newer release; the libraries are those of the
// machine's own QEMU, which is installed.
var emulatorPackages = []string{"qemu-system-x86", "qemu-system-data", "seabios"}

// emulator is a QEMU.
type emulator struct {
	program string
	args    []string
}

// emulator returns the machine's own QEMU, or, where that is older than 8, the one of its
// release's backports. The emulated processors of 7.2 damage the flags beside
// cmpxchg16b: every second boot of Linux 6.12 ended in a double fault in the slab allocator.
func (s Store) emulator(ctx context.Context) emulator {
	own := emulator{program: hostEmulator}
	out, err := command(ctx, "", hostEmulator, "--version")
	if err != nil || majorVersion(out) >= 8 {
		return own
	}
	newer, err := s.backported(ctx)
	if err != nil {
		s.say("using the machine's own QEMU, whose emulated processors have errors: %v", err)
		return own
	}
	return newer
}

// majorVersion reads the output of --version; 0 if it is not understood.
func majorVersion(text string) (n int) {
	_, rest, _ := strings.Cut(text, "version ")
	fmt.Sscanf(rest, "%d.", &n)
	return n
}

func (s Store) backported(ctx context.Context) (emulator, error) {
	a, err := s.archive(ctx, backports)
	if err != nil {
		return emulator{}, err
	}
	debs, err := a.packages(ctx, emulatorPackages, nil)
	if err != nil {
		return emulator{}, err
	}
	debs = slices.DeleteFunc(debs, func(d deb) bool { return !slices.Contains(emulatorPackages, d.name) })
	dir := filepath.Join(s.Dir, "qemu-"+content(debs, ""))
	share := filepath.Join(dir, "usr/share")
	e := emulator{filepath.Join(dir, "usr/bin", hostEmulator), []string{"-L", filepath.Join(share, "qemu"), "-L", filepath.Join(share, "seabios")}}
	if _, err := os.Stat(dir); err != nil {
		s.say("unpacking QEMU %s", debs[0].version)
		if err := s.unpackWhole(ctx, a, dir, debs); err != nil {
			return emulator{}, err
		}
	}
	return e, exec.CommandContext(ctx, e.program, "--version").Run() // has it the libraries?
}

// unpackWhole makes a directory of packages' files, or none.
func (s Store) unpackWhole(ctx context.Context, a archive, dir string, debs []deb) error {
	if err := a.download(ctx, debs); err != nil {
		return err
	}
	tree := dir + ".tree"
	defer os.RemoveAll(tree)
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if err := a.unpack(ctx, tree, debs); err != nil {
		return err
	}
	return os.Rename(tree, dir)
}

// debianCodename reads os-release(5).
func debianCodename(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("%s names no release", file)
}
