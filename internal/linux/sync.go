package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS writes out everything that the file system of the open file has not written yet
// (syncfs(2)).
func SyncFS(f *os.File) error {
	return os.NewSyscallError("syncfs", retry(func() error { return unix.Syncfs(int(f.Fd())) }))
}
