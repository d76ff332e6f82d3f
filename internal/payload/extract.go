package payload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of unfinished trees. One that exists while the lock is
// free belongs to a process that died.
const tempPrefix = ".tmp-"

// Extract returns the payload's tree below dir, usually /var/lib/berth/payload, and
// makes it when it is not there. Any number of processes may call it at once: one
// extracts, the others wait. A tree that is there is compared with its stamp, and
// read in full only where that differs; a changed file gives a *TamperedError.
//
// progress, which may be nil, is told how many bytes of how many are written; calls
// do not overlap. When ctx ends, Extract stops and leaves nothing behind.
func (p *Payload) Extract(ctx context.Context, dir string, progress func(done, total int64)) (*Tree, error) {
	if p.installed != "" {
		return &Tree{Dir: p.installed, Digest: p.digest}, nil
	}
	tree := &Tree{Dir: filepath.Join(dir, p.digest), Digest: p.digest}
	if stampMatches(tree) {
		return tree, nil
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	release, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if stampMatches(tree) {
		return tree, nil
	}
	m, err := p.manifest()
	if err != nil {
		return nil, err
	}
	if err := removeTemps(dir); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(tree.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := p.create(ctx, m, dir, progress); err != nil {
			return nil, err
		}
		// Every file was verified while it was written: the stamp may vouch for all.
		s, err := takeStamp(m, tree)
		if err != nil {
			return nil, err
		}
		if err := s.write(tree); err != nil {
			return nil, err
		}
		return tree, nil
	}
	if err := verify(ctx, m, tree); err != nil {
		return nil, err
	}
	return tree, nil
}

// create extracts into a temporary directory and renames it into place. The rename
// is what makes a tree count, so everything is on disk before it.
func (p *Payload) create(ctx context.Context, m *Manifest, dir string, progress func(done, total int64)) error {
	temp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return explain(err, dir, m)
	}
	defer os.RemoveAll(temp) // finds nothing after the rename
	if err := unpackAll(ctx, p.fsys, m, temp, progress); err != nil {
		return explain(err, dir, m)
	}
	if err := syncFS(temp); err != nil {
		return explain(err, dir, m)
	}
	if err := os.Rename(temp, filepath.Join(dir, p.digest)); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return syncDir(dir)
}

// explain turns the errors of a full disk into what to do about it.
func explain(err error, dir string, m *Manifest) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("payload: no room for the %d MB of programs in %s (%w): free some, or name another place with BERTH_STATE_DIR",
			m.unpacked()>>20, dir, err)
	}
	return err
}

// prepareDir makes dir and refuses one in which somebody else could plant programs
// or from which none can be run.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("payload: %s is on a file system mounted noexec: name another place with BERTH_STATE_DIR", dir)
	}
	return nil
}

// checkOwner refuses a directory that is not root's (or the caller's) alone.
func checkOwner(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("payload: %s is not a directory: remove it", dir)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("payload: %s belongs to uid %d: programs are only run from a directory of root's: chown it", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("payload: %s is writable by others (mode %04o): chmod it to 0755", dir, st.Mode&0o7777)
	}
	return nil
}

// removeTemps deletes the unfinished trees of dead processes. The lock is held.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("payload: remove an unfinished tree: %w", err)
			}
		}
	}
	return nil
}

// syncFS writes out the file system that holds dir: one journal commit instead of
// one a file.
func syncFS(dir string) error { return withDir(dir, "syncfs", unix.Syncfs) }

// syncDir writes out dir's entries.
func syncDir(dir string) error { return withDir(dir, "fsync", unix.Fsync) }

func withDir(dir, op string, do func(fd int) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := do(int(f.Fd())); err != nil {
		return &os.PathError{Op: op, Path: dir, Err: err}
	}
	return nil
}
