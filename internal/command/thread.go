package command

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// become changes the calling thread, and no other, to id (credentials(7)). The system
// calls are raw because Go's own wrappers change every thread of the process.
func become(id Identity) error {
	if id.Same {
		return nil
	}
	groups := make([]uint32, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = uint32(g)
	}
	if err := setThreadGroups(groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(id.GID), uintptr(id.GID), uintptr(id.GID)); e != 0 {
		return os.NewSyscallError("setresgid", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(id.UID), uintptr(id.UID), uintptr(id.UID)); e != 0 {
		return os.NewSyscallError("setresuid", e)
	}
	return nil
}

// setThreadGroups is setgroups(2) for the calling thread only.
func setThreadGroups(groups []uint32) error {
	first := unsafe.Pointer(unsafe.SliceData(groups))
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return e
	}
	return nil
}

// enter moves the calling thread, and no other, into a network namespace.
func enter(netns *os.File) error {
	if netns == nil {
		return nil
	}
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the engine's network namespace: %w", os.NewSyscallError("setns", err))
	}
	return nil
}
