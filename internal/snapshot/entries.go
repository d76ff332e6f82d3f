package snapshot

import (
	"errors"
	"io/fs"
	"os"
)

// entries lists a directory of a root, sorted by name. One that does not exist has none.
func entries(root *os.Root, dir string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}
