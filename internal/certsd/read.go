package certsd

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds a file, in bytes.
const maxFile = 1 << 20

// endings are those of the files that mean something in certs.d.
var endings = []string{".crt", ".cert", ".key", ".pem", ".toml"}

// Read takes over a tree from a disk. Symbolic links lead where they do: a ConfigMap is made
// of them. Files that mean nothing there are passed over.
func Read(dir string) (Tree, error) {
	hosts, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	t := Tree{}
	for _, h := range hosts {
		if strings.HasPrefix(h.Name(), "..") { // a ConfigMap's own
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, h.Name()))
		if errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !slices.Contains(endings, filepath.Ext(e.Name())) {
				continue
			}
			text, err := readFile(filepath.Join(dir, h.Name(), e.Name()))
			if err != nil {
				return nil, err
			}
			t.add(h.Name(), e.Name(), text)
		}
	}
	return t, nil
}

func readFile(path string) (string, error) {
	wrong := func() error {
		return &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file of at most 1 MiB")}
	}
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", wrong() // opening a pipe would wait for its other end
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = wrong()
	}
	return string(b), err
}
