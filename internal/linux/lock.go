// Package linux wraps the system calls that berth needs and Go's standard library has
// not: locks, pidfds, sockets with an owner, paths opened without following links. Every
// function retries EINTR and returns an *os.PathError or *os.SyscallError. It knows
// nothing of engines.
package linux

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("locked by another process")

// retry calls f again for as long as a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// TryLock opens (and makes, mode 0600) the file at path and takes an exclusive lock on it
// that lasts until the file is closed or the process ends, however it ends (flock(2)).
// It returns ErrLocked when another process has it. The file of an old lock that was
// removed meanwhile is never returned.
func TryLock(path string) (*os.File, error) {
	return lock(context.Background(), path, unix.LOCK_EX|unix.LOCK_NB)
}

// TryLockShared is TryLock for a lock that any number of processes can have at once, but
// not beside one who has it exclusively.
func TryLockShared(path string) (*os.File, error) {
	return lock(context.Background(), path, unix.LOCK_SH|unix.LOCK_NB)
}

// Lock is TryLock, except that it waits for the lock. When ctx is cancelled it returns
// ctx's error at once; the wait in the kernel ends by itself when the lock becomes free.
func Lock(ctx context.Context, path string) (*os.File, error) {
	f, err := TryLock(path)
	if !errors.Is(err, ErrLocked) {
		return f, err
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := lock(ctx, path, unix.LOCK_EX)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.f, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.f != nil {
				r.f.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func lock(ctx context.Context, path string, how int) (*os.File, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err // before a file is made for nobody
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := retry(func() error { return unix.Flock(int(f.Fd()), how) }); err != nil {
			f.Close()
			if err == unix.EWOULDBLOCK {
				return nil, ErrLocked
			}
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		// The file may have been removed between open and lock: a lock on it guards nothing.
		if same, err := sameFile(f, path); err != nil || !same {
			f.Close()
			if err != nil {
				return nil, err
			}
			continue
		}
		return f, nil
	}
}

func sameFile(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, named), err
}

// Locked reports whether a process holds a lock on the file at path. A file that does not
// exist is not locked, and is not made.
func Locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	// A shared lock, so that two who ask at once do not take each other for an owner.
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return false, nil
}

// LockedShared is Locked for a lock taken with TryLockShared or TryLock.
func LockedShared(path string) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	f, err := TryLock(path)
	if errors.Is(err, ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}
