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

// lay puts files where they belong in the container. Where certs.d or the authorities cannot
// be written to, because they are a read-only mount (a ConfigMap is), a file system with all
// of them is mounted over that.
func lay(files []pid1.File) error {
	var covered []string
	for _, f := range files {
		err := put(f)
		if errors.Is(err, unix.EROFS) {
			for _, dir := range []string{certsd.Dir, systemCerts} {
				if within(f.Path, dir) && !slices.Contains(covered, dir) {
					covered = append(covered, dir)
					err = cover(dir, files)
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cover mounts a file system over dir that has the files below it.
func cover(dir string, files []pid1.File) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("nothing can be written to %s, and nothing mounted over it: %w; mount it without `:ro`", dir, err)
	}
	for _, f := range files {
		if within(f.Path, dir) {
			if err := put(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// put writes a file where it is not as it should be.
func put(f pid1.File) error {
	if old, err := os.ReadFile(f.Path); err == nil && string(old) == f.Data {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(f.Path, []byte(f.Data), os.FileMode(f.Mode))
}
