// Package copied gives each fork layers of its own: with data that the file system shares
// between files (btrfs, xfs), or copied in full where nothing better works. The cost of a
// fork grows with the files, or with the bytes, of all layers.
package copied

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// Driver is one of the two ways of copying.
type Driver struct {
	// Reflink makes it an error that the file system cannot share data.
	Reflink bool
}

var _ layers.Driver = Driver{}

func (d Driver) Name() string {
	if d.Reflink {
		return "reflink"
	}
	return "copy"
}

// Try shares the data of two files without a name in dir, for reflinks; a copy always works.
func (d Driver) Try(_ context.Context, dir string, _ []layers.Base, _ ids.Range) error {
	if !d.Reflink {
		return nil
	}
	var files [2]*os.File
	for i := range files {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		files[i] = os.NewFile(uintptr(fd), dir)
		defer files[i].Close()
	}
	if _, err := files[0].Write(make([]byte, 4096)); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(files[1].Fd()), int(files[0].Fd())); err != nil {
		return tree.ErrNoReflink
	}
	return nil
}

// Provide puts a copy where each link is.
func (d Driver) Provide(ctx context.Context, snapshots *os.File, bases []layers.Base, to ids.Range) ([]layers.Base, error) {
	names, err := snapshots.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(snapshots.Fd()), name, buf)
		if err != nil {
			continue // a directory: the fork's own
		}
		id, layer, ok := layers.ParseLink(string(buf[:n]))
		if !ok {
			return nil, fmt.Errorf("layer %s is a link to %q, which berth did not make; verify the snapshot", name, buf[:n])
		}
		base, err := layers.Find(bases, id)
		if err != nil {
			return nil, err
		}
		if err := d.copyLayer(ctx, snapshots, name, base, layer, to); err != nil {
			return nil, fmt.Errorf("copy layer %s of %s: %w", layer, base.Snapshot, err)
		}
	}
	return nil, nil
}

func (d Driver) copyLayer(ctx context.Context, snapshots *os.File, name string, base layers.Base, layer string, to ids.Range) error {
	root, err := os.OpenRoot(base.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	source, err := root.OpenFile(layer, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	dir := int(snapshots.Fd())
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return os.NewSyscallError("unlinkat", err)
	}
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	target := os.NewFile(uintptr(fd), name)
	defer target.Close()
	return tree.Copy(ctx, source, target, tree.Options{From: base.IDs, To: to, Reflink: d.Reflink})
}
