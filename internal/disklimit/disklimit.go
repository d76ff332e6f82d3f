// Package disklimit bounds what a directory can hold, in one of two ways. A project quota
// needs a file system that is mounted for it. Everywhere else a file system of its own is
// mounted there, in a sparse file that takes as much of the disk as is in it; what is deleted
// inside is given back.
//
// Sizes are bytes. The package knows nothing of engines.
package disklimit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// Least is the smallest limit: less is used up by an empty file system and dockerd.
const Least = 64 << 20

// What holds a limit.
const (
	Quota = "quota" // of a project
	Loop  = "loop"  // a file system in a file
)

// ErrUnable says that this machine cannot limit a directory.
var ErrUnable = errors.New("this machine cannot limit a directory's size")

const mkfs = "mkfs.ext4"

// Options say what a limited directory is to be.
type Options struct {
	Size  int64
	Owner int // of the directory: user and group
	// Volatile says that nothing in it outlives a crash of the machine: no journal is kept.
	Volatile bool
}

// Try says what is missing on this machine for a file system in a file, or nil. It changes
// nothing.
func Try() error {
	if _, err := findMkfs(); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("%w: loop devices: %w", ErrUnable, err)
	}
	return nil
}

func findMkfs() (string, error) {
	program, err := exec.LookPath(mkfs)
	if err != nil {
		return "", fmt.Errorf("%w: %s is not installed; install e2fsprogs", ErrUnable, mkfs)
	}
	return program, nil
}

// Make makes the file image, with a file system in it, and mounts that at dir, which exists
// and is empty. When there is an error, neither is left. Cancelling ctx ends it early.
func Make(ctx context.Context, image, dir string, o Options) error {
	program, err := findMkfs()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(o.Size), f.Close())
	if err == nil {
		err = format(ctx, program, image, o)
	}
	if err == nil {
		err = Mount(image, dir)
	}
	if err == nil {
		// What fsck finds is for nobody here, and an empty directory is to be empty.
		if err = os.Remove(filepath.Join(dir, "lost+found")); err != nil {
			err = errors.Join(err, Unmount(dir))
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(image))
	}
	return nil
}

func format(ctx context.Context, program, image string, o Options) error {
	features := "^quota"
	if o.Volatile {
		features = "^has_journal"
	}
	cmd := exec.CommandContext(ctx, program, "-q", "-F", "-m", "0", "-O", features,
		"-E", fmt.Sprintf("nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=%d:%d", o.Owner, o.Owner), image)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", mkfs, image, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}

// Mount mounts the file system in image at dir.
func Mount(image, dir string) error {
	f, err := os.OpenFile(image, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	device, err := linux.AttachLoop(f)
	if err != nil {
		return fmt.Errorf("%w: loop device: %w; a container needs /dev/loop-control and /dev/loop*", ErrUnable, err)
	}
	defer device.Close()
	if err := unix.Mount(device.Name(), dir, "ext4", unix.MS_NOATIME, "discard"); err != nil {
		return &os.PathError{Op: "mount " + image + " at", Path: dir, Err: err}
	}
	return nil
}

// Unmount takes away what is mounted at dir, if anything is.
func Unmount(dir string) error {
	mounted, err := linux.IsMount(dir)
	if err != nil || !mounted {
		return err
	}
	err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == unix.EBUSY { // somebody is looking at it, and lets go in time
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}
