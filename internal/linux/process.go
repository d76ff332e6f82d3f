package linux

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// StartTime returns when the process began, in clock ticks after boot (proc_pid_stat(5),
// field 22). Together with the pid it names a process for ever.
func StartTime(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses and may itself hold spaces and parentheses.
	i := bytes.LastIndexByte(b, ')')
	fields := bytes.Fields(b[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, &os.PathError{Op: "parse", Path: path, Err: unix.EINVAL}
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// Doomed reports whether the process has ended or cannot do anything any more but end: it
// is a zombie, or SIGKILL is pending for it (proc_pid_status(5)). What such a process holds
// is about to be released.
func Doomed(pid int, start uint64) bool {
	if now, err := StartTime(pid); err != nil || now != start {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	const kill = 1 << (unix.SIGKILL - 1)
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":\t"))
		switch string(key) {
		case "State":
			if bytes.HasPrefix(value, []byte("Z")) || bytes.HasPrefix(value, []byte("X")) {
				return true
			}
		case "SigPnd", "ShdPnd":
			if mask, err := strconv.ParseUint(string(value), 16, 64); err == nil && mask&kill != 0 {
				return true
			}
		}
	}
	return false
}

// PIDFD is a handle on one process that stays valid when its pid is used again (pidfd_open(2), Linux 5.3).
type PIDFD struct{ f *os.File }

// OpenPIDFD opens the process pid that began at start (see [StartTime]). It returns
// os.ErrProcessDone when that process is gone, even if its pid is in use again.
func OpenPIDFD(pid int, start uint64) (*PIDFD, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH || err == unix.EINVAL {
		return nil, os.ErrProcessDone
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	p := &PIDFD{os.NewFile(uintptr(fd), "pidfd")}
	if now, err := StartTime(pid); err != nil || now != start {
		p.Close()
		return nil, os.ErrProcessDone
	}
	return p, nil
}

// Signal sends sig (pidfd_send_signal(2)); os.ErrProcessDone when the process has ended.
func (p *PIDFD) Signal(sig unix.Signal) error {
	err := retry(func() error { return unix.PidfdSendSignal(int(p.f.Fd()), sig, nil, 0) })
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// Wait returns nil when the process has ended, and ctx's error when ctx is cancelled first.
// The process need not be a child.
func (p *PIDFD) Wait(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer func() {
		if stop() {
			w.Close()
		}
	}()
	fds := []unix.PollFd{{Fd: int32(p.f.Fd()), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
	err = retry(func() error { _, err := unix.Poll(fds, -1); return err })
	if err != nil {
		return os.NewSyscallError("poll", err)
	}
	if fds[0].Revents != 0 {
		return nil
	}
	return ctx.Err()
}

// Close releases the handle; the process is not touched.
func (p *PIDFD) Close() error { return p.f.Close() }
