package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// deb is a Debian package at the version that apt would install.
type deb struct {
	name    string // as apt knows it
	file    string // name_version_arch.deb, colons escaped
	version string
}

// hostNeeds are the programs of this machine that the harness calls, by Debian package.
var hostNeeds = map[string]string{
	"qemu-system-x86_64": "qemu-system-x86",
	"mke2fs":             "e2fsprogs",
	"depmod":             "kmod",
}

// installMissing installs those of the programs that are not there.
func installMissing(ctx context.Context) error {
	var missing []string
	for program, pkg := range hostNeeds {
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
	say("installing %s", strings.Join(missing, " "))
	args := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)
	_, err := command(ctx, "", "apt-get", args...)
	return err
}

// withDependencies lists the packages and all that they depend on, as apt would install
// them on a machine that has nothing, but for those whose name matches without.
func withDependencies(ctx context.Context, names []string, without *regexp.Regexp) ([]deb, error) {
	empty := filepath.Join(os.TempDir(), fmt.Sprintf("berth-vm-status-%d", os.Getpid()))
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(empty)
	args := []string{"-qq", "-o", "Dir::State::status=" + empty, "-o", "APT::Install-Recommends=false", "-o", "Debug::NoLocking=1", "--print-uris", "install"}
	out, err := command(ctx, "", "apt-get", append(args, names...)...)
	if err != nil {
		return nil, fmt.Errorf("%w; are apt's lists there (`make deps`)?", err)
	}
	var debs []deb
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !strings.HasPrefix(fields[0], "'") {
			continue
		}
		d := parseDeb(fields[1])
		if without == nil || !without.MatchString(d.name) {
			debs = append(debs, d)
		}
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt knows no packages %s; run apt-get update", strings.Join(names, " "))
	}
	return debs, nil
}

func parseDeb(file string) deb {
	parts := strings.SplitN(strings.TrimSuffix(file, ".deb"), "_", 3)
	d := deb{name: parts[0], file: file}
	if len(parts) > 1 {
		d.version = strings.ReplaceAll(parts[1], "%3a", ":")
	}
	return d
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

// download fetches those of the packages that are not in dir. apt checks their hashes.
func download(ctx context.Context, dir string, debs []deb) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"-qq", "-o", "APT::Sandbox::User=root", "download"}
	missing := 0
	for _, d := range debs {
		if _, err := os.Stat(filepath.Join(dir, d.file)); errors.Is(err, os.ErrNotExist) {
			args = append(args, d.name+"="+d.version)
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	say("downloading %d Debian packages", missing)
	_, err := command(ctx, dir, "apt-get", args...)
	return err
}

// unpack puts the packages' files below root, which may have a merged /usr.
func unpack(ctx context.Context, debsDir, root string, debs []deb) error {
	for _, d := range debs {
		const text = `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`
		if _, err := command(ctx, "", "sh", "-ec", text, "sh", filepath.Join(debsDir, d.file), root); err != nil {
			return fmt.Errorf("unpack %s: %w", d.file, err)
		}
	}
	return nil
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

// say tells what takes its time.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }
