package tree

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func (c *copier) xattrs(source, target *os.File) error {
	attrs, err := readXattrs(source)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		switch {
		case a.name == capabilityAttr:
			shiftCapability(a.value, c.shift)
		case isACL(a.name):
			shiftACL(a.value, c.shift)
		}
		err := unix.Fsetxattr(int(target.Fd()), a.name, a.value, 0)
		if err != nil && err != unix.ENOTSUP {
			return err
		}
	}
	return nil
}

type attribute struct {
	name  string
	value []byte
}

// readXattrs reads a file's extended attributes, sorted by name.
func readXattrs(f *os.File) ([]attribute, error) {
	names, err := xattr(func(b []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), b) })
	if err == unix.ENOTSUP || len(names) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []attribute
	for _, name := range strings.Split(strings.TrimRight(string(names), "\x00"), "\x00") {
		value, err := xattr(func(b []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), name, b) })
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, attribute{name, value})
	}
	slices.SortFunc(out, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// xattr calls get with a buffer that is large enough.
func xattr(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if n <= 0 || err != nil {
			return nil, err
		}
		b := make([]byte, n)
		n, err = get(b)
		if err == unix.ERANGE {
			continue // it has grown meanwhile
		}
		return b[:max(n, 0)], err
	}
}
