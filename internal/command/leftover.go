package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Hold returns a second descriptor of a namespace, so that its inode number cannot be
// given to another one before [KillLeft] has looked for it.
func Hold(netns *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(netns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold the engine's network namespace: %w", os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), netns.Name()), nil
}

// KillLeft ends every process that is still inside a network namespace that is about to
// go, and returns how many there were: the background processes that a command has left
// behind. Without this they would keep the namespace, and hold it with no way out.
func KillLeft(netns *os.File) (int, error) {
	want, err := netns.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at the engine's network namespace: %w", err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return 0, err
	}
	killed := 0
	var failed error
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err != nil || pid == os.Getpid() {
			continue
		}
		switch done, err := killIfInside(pid, link, want); {
		case err != nil:
			failed = errors.Join(failed, err)
		case done:
			killed++
		}
	}
	return killed, failed
}

// killIfInside holds the process by a pidfd while it looks, so that another process with
// the same number is never hit (pidfd_open(2)).
func killIfInside(pid int, link string, netns os.FileInfo) (bool, error) {
	if have, err := os.Stat(link); err != nil || !os.SameFile(have, netns) {
		return false, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it has ended
	}
	defer unix.Close(fd)
	if have, err := os.Stat(link); err != nil || !os.SameFile(have, netns) {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("end process %d, left in the engine's network: %w", pid, err)
	}
	return true, nil
}
