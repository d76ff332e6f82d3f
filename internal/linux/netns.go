package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Hold returns a second descriptor of a namespace, so that its inode number cannot be
// given to another one before [KillInside] has looked for it.
func Hold(netns *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(netns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold the engine's network namespace: %w", os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), netns.Name()), nil
}

// KillInside ends every process but the caller that is inside a network namespace that is
// about to go, and returns how many there were: the background processes that a command has
// left behind. Without this they would keep the namespace, and hold it with no way out.
func KillInside(netns *os.File) (int, error) {
	want, err := netns.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at the engine's network namespace: %w", err)
	}
	killed := 0
	var failed error
	err = eachNetNS(func(pid int, link string) {
		switch done, err := killIfInside(pid, link, want); {
		case err != nil:
			failed = errors.Join(failed, err)
		case done:
			killed++
		}
	})
	return killed, errors.Join(failed, err)
}

// eachNetNS calls f for every other process with the path of its network namespace.
func eachNetNS(f func(pid int, link string)) error {
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return err
	}
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err == nil && pid != os.Getpid() {
			f(pid, link)
		}
	}
	return nil
}

// FindNetNS opens the network namespace with that inode number and cookie by way of a
// process that is inside it. It returns nil when no process is: inode numbers are used
// again, cookies are not (socket(7), SO_NETNS_COOKIE, Linux 5.14).
func FindNetNS(inode, cookie uint64) (found *os.File, err error) {
	err = eachNetNS(func(_ int, link string) {
		var st unix.Stat_t
		if found != nil || unix.Stat(link, &st) != nil || st.Ino != inode {
			return
		}
		f, err := os.Open(link)
		if err != nil {
			return // it has ended
		}
		if c, err := NetNSCookie(f); err != nil || c != cookie {
			f.Close()
			return
		}
		found = f
	})
	return found, err
}

// NetNSCookie returns the number that no other network namespace has had, or will have,
// until the machine is started again.
func NetNSCookie(netns *os.File) (cookie uint64, err error) {
	err = OnThread(func() error {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return os.NewSyscallError("getsockopt", err)
	})
	return cookie, err
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
