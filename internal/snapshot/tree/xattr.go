package tree

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

func (c *copier) xattrs(source, target *os.File) error {
	names, err := xattr(func(b []byte) (int, error) { return unix.Flistxattr(int(source.Fd()), b) })
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		value, err := xattr(func(b []byte) (int, error) { return unix.Fgetxattr(int(source.Fd()), string(name), b) })
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return err
		}
		if string(name) == "security.capability" {
			c.shiftCapability(value)
		}
		err = unix.Fsetxattr(int(target.Fd()), string(name), value, 0)
		if err != nil && err != unix.ENOTSUP {
			return err
		}
	}
	return nil
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

// shiftCapability changes whose root a program's capabilities are for: revision 3 ends
// with the id of a user namespace's root (capabilities(7), "File capability versioning").
func (c *copier) shiftCapability(value []byte) {
	const revision3, size = 0x03000000, 24
	if len(value) != size || binary.LittleEndian.Uint32(value)&0xff000000 != revision3 {
		return
	}
	root := binary.LittleEndian.Uint32(value[size-4:])
	binary.LittleEndian.PutUint32(value[size-4:], uint32(c.shift(root)))
}
