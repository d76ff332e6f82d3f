package linux

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs f on an operating system thread that ends afterwards: what f changes about
// its thread (namespaces, ids) reaches no other goroutine, and what f starts with a
// parent-death signal lives until f returns.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread would not end with this goroutine, and stay what f has made of
			// it. As long as it is locked here, f gets another one.
			defer runtime.UnlockOSThread()
			done <- OnThread(f)
			return
		}
		done <- f() // the thread is never unlocked: it ends with this goroutine
	}()
	return <-done
}

// WithinLimits runs f on a thread that has no more than it is allowed of processes, disk and
// the like: without CAP_SYS_RESOURCE, by which root goes beyond limits (capabilities(7)). That
// holds for what f does itself, not for goroutines or processes that it starts.
func WithinLimits(f func() error) error {
	return OnThread(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			return os.NewSyscallError("capget", err)
		}
		sets[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
		if err := unix.Capset(&header, &sets[0]); err != nil {
			return os.NewSyscallError("capset", err)
		}
		return f()
	})
}
