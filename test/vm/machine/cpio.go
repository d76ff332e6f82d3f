package machine

import (
	"fmt"
	"io"
)

// cpio writes the "newc" format, of which the kernel makes its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w   io.Writer
	ino int
	err error
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

func (a *cpio) dir(name string)               { a.entry(name, modeDir, nil) }
func (a *cpio) file(name string, data []byte) { a.entry(name, modeFile, data) }

// close ends the archive and returns the first error of all.
func (a *cpio) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func (a *cpio) entry(name string, mode uint32, data []byte) {
	a.ino++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.write(append([]byte(header+name), 0), len(header)+len(name)+1)
	a.write(data, len(data))
}

// write adds data and what fills it up to a multiple of four bytes.
func (a *cpio) write(data []byte, length int) {
	if a.err == nil {
		_, a.err = a.w.Write(append(data[:length:length], make([]byte, (4-length%4)%4)...))
	}
}
