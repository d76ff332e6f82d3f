package payload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// verify compares the tree with the manifest and renews its stamp. Files that the
// stamp still vouches for are not read. The lock is held.
func verify(ctx context.Context, m *Manifest, tree *Tree) error {
	known := readStamp(tree)
	// The stamp is taken before the content is read: a change in between shows as a
	// difference the next time.
	current, err := takeStamp(m, tree)
	if err != nil {
		return err
	}
	dirs := m.dirs()
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if !known.vouches(current, dir) {
			if err := verifyDir(tree, dir, dirs[dir]); err != nil {
				return err
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for file := range m.files {
		if !known.vouches(current, file.Path) {
			group.Go(func() error { return verifyFile(ctx, tree, file) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return current.write(tree)
}

// verifyDir checks a directory's owner and mode, and that nothing was added to it or
// taken away. dir is relative to the tree; names are what belongs in it.
func verifyDir(tree *Tree, dir string, names map[string]bool) error {
	full := filepath.Join(tree.Dir, dir)
	if err := checkOwner(full); err != nil {
		return tree.tampered(dir, "changed its owner or mode")
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	for _, e := range entries {
		if !names[e.Name()] {
			return tree.tampered(path.Join(dir, e.Name()), "was added")
		}
	}
	return nil // what is missing is found when its lstat fails
}

func verifyFile(ctx context.Context, tree *Tree, file File) error {
	full := filepath.Join(tree.Dir, file.Path)
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return tree.tampered(file.Path, "has gone")
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return tree.tampered(file.Path, "changed its owner")
	}
	if file.Link != "" {
		if target, err := os.Readlink(full); err != nil || target != file.Link {
			return tree.tampered(file.Path, "was replaced")
		}
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != file.Size {
		return tree.tampered(file.Path, "was replaced")
	}
	if st.Mode&0o7777 != uint32(file.Mode) {
		return tree.tampered(file.Path, "changed its mode")
	}
	sum, err := hashFile(ctx, full)
	if err != nil {
		return err
	}
	if sum != file.SHA256 {
		return tree.tampered(file.Path, "changed its content")
	}
	return nil
}

func hashFile(ctx context.Context, name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", fmt.Errorf("payload: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{hash}, readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return f.Read(p)
	}), make([]byte, 1<<18))
	if err != nil {
		return "", fmt.Errorf("payload: check %s: %w", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (t *Tree) tampered(rel, reason string) error {
	return &TamperedError{Path: filepath.Join(t.Dir, rel), Reason: reason, Remove: t.Dir}
}

// vouches reports whether the stamp's entry for rel is the current one.
func (s stamp) vouches(current stamp, rel string) bool {
	line, ok := s[rel]
	return ok && bytes.Equal(line, current[rel])
}
