package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeWhole makes a file appear whole, and with its mode, or not at all. A symbolic link stays,
// and what it leads to is written. What is there and is no file, such as a FIFO or /dev/stdout, is
// written to as it is; when ctx ends, that is given up.
func writeWhole(ctx context.Context, path string, mode os.FileMode, fill func(io.Writer) error) error {
	// The kernel looks at the link first: in a directory of everybody's it does not follow
	// another user's (proc(5), protected_symlinks).
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		_, err := abandoned(ctx, func() (struct{}, error) { return struct{}{}, writeThrough(path, fill) })
		return err
	case err == nil:
		path, err = filepath.EvalSymlinks(path)
	case errors.Is(err, fs.ErrNotExist):
		path, err = missingTarget(path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return replace(path, mode, fill)
}

func writeThrough(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(fill(f), f.Close())
}

// missingTarget is where a path leads that is a link to nothing, or nothing itself.
func missingTarget(path string) (string, error) {
	for {
		link, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return path, err
		}
		if !filepath.IsAbs(link) {
			dir, _ := filepath.Split(path)
			link = dir + link // not cleaned: dir may be a link too
		}
		path = link
	}
}

func replace(path string, mode os.FileMode, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // finds nothing after the rename
	err = fill(f)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
