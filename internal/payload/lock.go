package payload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir takes the exclusive lock on the payload directory dir and returns what
// releases it. The lock is the kernel's (flock), so that a killed process holds none.
// When ctx ends first, lockDir returns its error and gives up the lock should it
// still be granted.
func lockDir(ctx context.Context, dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("payload: open the lock: %w", err)
	}
	if flock(f, unix.LOCK_NB) == nil {
		return func() { f.Close() }, nil
	}
	locked := make(chan error, 1)
	// flock cannot be interrupted from Go, so a goroutine waits in it; the descriptor
	// is closed by whoever uses it last.
	go func() { locked <- flock(f, 0) }()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("payload: lock %s: %w", dir, err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() { <-locked; f.Close() }()
		return nil, fmt.Errorf("payload: wait for another berth to extract to %s: %w", dir, context.Cause(ctx))
	}
}

func flock(f *os.File, flags int) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|flags)
		if err != unix.EINTR {
			return err
		}
	}
}
