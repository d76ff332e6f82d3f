package tree

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// visitor is told of what is in a directory.
type visitor interface {
	// directory is closed afterwards; what is in it is for the visitor to visit.
	directory(dir *os.File, rel string) error
	// entry is called name in dir, and is no directory.
	entry(dir *os.File, name, rel string, st *unix.Stat_t) error
}

// visit tells v of what is in dir, in the order of names, but for what skip, if any, leaves
// out. rel is where dir is in its tree.
func visit(dir *os.File, rel string, skip func(string) bool, v visitor) error {
	names, err := list(dir)
	if err != nil {
		return &os.PathError{Op: "list", Path: rel, Err: err}
	}
	for _, name := range names {
		sub := path.Join(rel, name)
		if skip != nil && skip(sub) {
			continue
		}
		if err := visitOne(dir, name, sub, v); err != nil {
			return err
		}
	}
	return nil
}

func visitOne(dir *os.File, name, rel string, v visitor) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: rel, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return v.entry(dir, name, rel, &st)
	}
	sub, err := openDir(dir, name)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer sub.Close()
	return v.directory(sub, rel)
}
