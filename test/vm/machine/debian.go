package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// archive is apt as it is asked for packages, without a change to what this machine has.
type archive struct {
	s       Store
	options []string // for apt-get: other sources, say; nil for the machine's own
}

// packages lists the named packages and all that they depend on, as apt would install
// them on a machine that has nothing, but for those whose name matches without.
func (a archive) packages(ctx context.Context, names []string, without *regexp.Regexp) ([]deb, error) {
	empty := filepath.Join(os.TempDir(), fmt.Sprintf("berth-vm-status-%d", os.Getpid()))
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(empty)
	args := append([]string{"-qq", "-o", "Dir::State::status=" + empty, "-o", "APT::Install-Recommends=false", "-o", "Debug::NoLocking=1"}, a.options...)
	out, err := command(ctx, "", "apt-get", append(append(args, "--print-uris", "install"), names...)...)
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

// download fetches those of the packages that the store has not. apt checks their hashes.
func (a archive) download(ctx context.Context, debs []deb) error {
	dir := a.s.debs()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, a.options...)
	args = append(args, "download")
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
	a.s.say("downloading %d Debian packages", missing)
	_, err := command(ctx, dir, "apt-get", args...)
	return err
}

// unpack puts the packages' files below root, which may have a merged /usr.
func (a archive) unpack(ctx context.Context, root string, debs []deb) error {
	for _, d := range debs {
		const text = `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`
		if _, err := command(ctx, "", "sh", "-ec", text, "sh", filepath.Join(a.s.debs(), d.file), root); err != nil {
			return fmt.Errorf("unpack %s: %w", d.file, err)
		}
	}
	return nil
}
