// Package netns runs code in another network namespace (network_namespaces(7)). A
// namespace is an open file: /proc/<pid>/ns/net or a bind mount of it. It knows nothing
// of engines.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do calls f on a thread that is in the network namespace ns, and waits for it. Sockets
// that f opens belong to ns for ever, as do files below /proc/sys/net; what f starts on
// other goroutines does not run in ns. It fails when ns cannot be entered (setns(2):
// needs CAP_SYS_ADMIN in the user namespace that owns ns), or with f's error.
func Do(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- inside(ns, f) }()
	return <-done
}

func inside(ns *os.File, f func() error) (err error) {
	runtime.LockOSThread()
	back, err := Current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err := set(ns); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		// A thread that cannot go back must serve nobody else: it stays locked and dies
		// with this goroutine.
		if backErr := set(back); backErr == nil {
			runtime.UnlockOSThread()
		} else if err == nil {
			err = backErr
		}
	}()
	return f()
}

// New makes a network namespace. It lasts until the file, and whatever else refers to it,
// is closed (unshare(2): needs CAP_SYS_ADMIN).
func New() (*os.File, error) {
	type result struct {
		ns  *os.File
		err error
	}
	made := make(chan result)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and leaves the namespace.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread would stay instead. Another one serves as well.
			ns, err := New()
			runtime.UnlockOSThread()
			made <- result{ns, err}
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			made <- result{nil, fmt.Errorf("make a network namespace: %w", os.NewSyscallError("unshare", err))}
			return
		}
		ns, err := Current()
		made <- result{ns, err}
	}()
	r := <-made
	return r.ns, r.err
}

// Current opens the network namespace of the calling thread.
func Current() (*os.File, error) {
	return os.Open("/proc/thread-self/ns/net")
}

// Same reports whether two open files are the same namespace.
func Same(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

// set moves the calling thread. It goes through Fd's raw counterpart, because Fd would
// turn the file to blocking mode, which is not ours to change.
func set(ns *os.File) error {
	raw, err := ns.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if setErr = unix.Setns(int(fd), unix.CLONE_NEWNET); setErr != unix.EINTR {
				return
			}
		}
	})
	if err == nil && setErr != nil {
		err = os.NewSyscallError("setns", setErr)
	}
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
	}
	return nil
}
