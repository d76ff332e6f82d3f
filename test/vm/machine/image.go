package machine

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Image makes an ext4 image with the files of a directory and some room. Owners and
// modes are the directory's. An unfinished image is removed.
func Image(ctx context.Context, image, dir string, roomMiB int64) (err error) {
	defer func() {
		if err != nil {
			os.Remove(image)
		}
	}()
	size, err := treeMiB(dir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	_, err = command(ctx, "", "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal",
		"-N", fmt.Sprint(20000+size*8), "-d", dir, image, fmt.Sprintf("%dM", size+size/8+roomMiB))
	return err
}

// treeMiB is the space that a directory's files take, in MiB.
func treeMiB(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += (info.Size() + 4095) &^ 4095
		}
		return err
	})
	return total>>20 + 1, err
}

// Sparse makes an empty disk that takes no space until it is written to.
func Sparse(path string, gib int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, gib<<30)
}
