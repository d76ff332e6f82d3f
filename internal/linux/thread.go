package linux

import (
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
