package cli

import (
	"errors"
	"syscall"

	"github.com/berth-dev/berth/internal/attend"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/snapshot"
)

// settingsError is a mistake in a program's settings.
type settingsError struct{ err error }

func (e *settingsError) Error() string { return e.err.Error() }
func (e *settingsError) Unwrap() error { return e.err }

// unableError says why no engine can run on this machine.
type unableError struct{ err error }

func (e *unableError) Error() string { return e.err.Error() }
func (e *unableError) Unwrap() error { return e.err }

var errPrivilege = errors.New("engines need root (namespaces, mounts, network); run the program as root, or with sudo -E")

// failure tells a program what kind of error it is.
func failure(err error) *attend.Failure {
	f := &attend.Failure{Kind: attend.KindOther, Message: oneLine(err.Error())}
	switch {
	case errors.As(err, new(*settingsError)), errors.As(err, new(*engine.SpecError)):
		f.Kind = attend.KindInvalid
	case errors.As(err, new(*unableError)):
		f.Kind = attend.KindUnable
	case errors.Is(err, errPrivilege):
		f.Kind = attend.KindPrivilege
	case errors.Is(err, engine.ErrNotFound), errors.Is(err, snapshot.ErrNotFound):
		f.Kind = attend.KindNotFound
	case errors.Is(err, engine.ErrNameTaken):
		f.Kind = attend.KindNameTaken
	case errors.Is(err, engine.ErrNotRunning):
		f.Kind = attend.KindNotRunning
	case errors.Is(err, payload.ErrNotBuilt):
		f.Kind = attend.KindPayload
	case errors.Is(err, syscall.ENOSPC):
		f.Kind = attend.KindNoSpace
	}
	return f
}
