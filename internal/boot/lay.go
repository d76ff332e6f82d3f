package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/pid1"
)

// hereFiles are what an engine in the container's own namespaces has in its /etc: all of
// certs.d and of the authorities, if anything is to be added to them.
func (s *starter) hereFiles() ([]pid1.File, error) {
	p := s.plan
	files, err := s.files()
	if err != nil {
		return nil, err
	}
	if m := p.spec.Trust.Mirror; m == engine.MirrorLocal || m == engine.MirrorAuto && p.spec.Trust.MirrorOnly {
		return nil, errors.New("a container has no mirror of its own; give the URL of one with --mirror")
	}
	for _, f := range p.certs.Files() {
		if !slices.ContainsFunc(files, func(have pid1.File) bool { return have.Path == f.Path }) {
			files = append(files, pid1.File{Path: f.Path, Mode: uint32(f.Mode), Data: f.Text})
		}
	}
	if p.spec.Trust.ShareCA {
		files = append(files, engine.CADeviceFile())
	}
	return files, nil
}

// lay puts files where they belong in the container. Where certs.d or the authorities are
// not as they should be, a file system with all of them is mounted over that: they may be a
// read-only mount (a ConfigMap is), and a container that is started again is to find what
// its user has there, not what was added the last time.
func lay(files []pid1.File) error {
	for _, dir := range []string{certsd.Dir, systemCerts} {
		if slices.ContainsFunc(files, func(f pid1.File) bool { return within(f.Path, dir) && !there(f) }) {
			if err := cover(dir); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if err := put(f); err != nil {
			return err
		}
	}
	return nil
}

// cover mounts an empty file system over dir.
func cover(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mount a file system over %s, for what is to be added to it: %w; put it there yourself, and leave the flags out", dir, err)
	}
	return nil
}

// there tells whether a file is as it should be.
func there(f pid1.File) bool {
	old, err := os.ReadFile(f.Path)
	return err == nil && string(old) == f.Data
}

// put writes a file where it is not as it should be.
func put(f pid1.File) error {
	if there(f) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(f.Path, []byte(f.Data), os.FileMode(f.Mode))
}
