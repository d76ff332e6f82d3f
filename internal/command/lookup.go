package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// Exit statuses of a command that could not be run, as those of docker run.
const (
	StatusNotRunnable = 126
	StatusNotFound    = 127
)

// LookupError says that a command cannot be run, and with which status to exit.
type LookupError struct {
	Name   string
	Status int // StatusNotFound or StatusNotRunnable
	Err    error
}

func (e *LookupError) Error() string { return fmt.Sprintf("run %s: %v", e.Name, e.Err) }
func (e *LookupError) Unwrap() error { return e.Err }

// Find returns the path of the program that name stands for, looked up as the user id
// would: in the directories of path (a PATH) unless name holds a slash. Every error is
// a [*LookupError].
func Find(id Identity, name, path string) (string, error) {
	var found string
	err := linux.OnThread(func() error {
		if err := become(id); err != nil {
			return &LookupError{Name: name, Status: StatusNotRunnable, Err: err}
		}
		var err error
		found, err = find(name, path)
		return err
	})
	return found, err
}

func find(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		if err := runnable(name); err != nil {
			return "", lookupError(name, err)
		}
		return name, nil
	}
	denied := error(nil)
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" || !filepath.IsAbs(dir) {
			continue // as os/exec: nothing is run from the current directory by accident
		}
		file := filepath.Join(dir, name)
		err := runnable(file)
		if err == nil && name != "" {
			return file, nil
		}
		if errors.Is(err, os.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return "", lookupError(name, denied)
	}
	return "", lookupError(name, os.ErrNotExist)
}

func lookupError(name string, err error) error {
	e := &LookupError{Name: name, Status: StatusNotRunnable, Err: err}
	switch {
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
	case strings.Contains(name, "/"):
		e.Status, e.Err = StatusNotFound, errors.New("no such file; check the path")
	default:
		e.Status, e.Err = StatusNotFound, errors.New("not found in any directory of PATH (sudo resets PATH; give the full path, or `sudo env \"PATH=$PATH\" berth …`)")
	}
	return e
}

// runnable says why the calling thread could not execute file.
func runnable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("is a directory; name a program in it")
	}
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, 0); err != nil {
		return &os.PathError{Op: "execute", Path: file, Err: err}
	}
	// For root faccessat(2) answers yes when anybody may execute it, so that is settled too.
	return nil
}
