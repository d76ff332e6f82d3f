// Package machine makes virtual machines of Debian packages, which it unpacks and does not
// install: a kernel, a root file system, disks, and the QEMU process that runs them.
//
// What is made is kept in a [Store] by content and made once. A [Machine] boots it; what
// its init does then is up to the files that its [Root] and its work disk have.
package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Store keeps packages, kernels and root file systems.
type Store struct {
	Dir string                           // where, such as .cache/vm; made if missing
	Say func(format string, args ...any) // told of what takes its time; nil for silence
}

func (s Store) say(format string, args ...any) {
	if s.Say != nil {
		s.Say(format, args...)
	}
}

func (s Store) debs() string { return filepath.Join(s.Dir, "debs") }

// needs are the programs of this machine that are called, by Debian package.
var needs = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"mke2fs":             "e2fsprogs",
	"depmod":             "kmod",
}

// InstallMissing installs those of the host's programs that are missing; without root
// that is an error which says what to install.
func (s Store) InstallMissing(ctx context.Context) error {
	var missing []string
	for program, pkg := range needs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing programs; as root, run: apt-get install %s", strings.Join(missing, " "))
	}
	s.say("installing %s", strings.Join(missing, " "))
	args := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)
	_, err := command(ctx, "", "apt-get", args...)
	return err
}

// content identifies a set of packages and how it is used.
func content(debs []deb, recipe string) string {
	h := sha256.New()
	fmt.Fprintln(h, recipe)
	for _, d := range debs {
		fmt.Fprintln(h, d.file)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// command runs a program and returns its output; an error holds what it said.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
