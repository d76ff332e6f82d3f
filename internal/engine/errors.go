package engine

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no engine has that name or id. `berth ls` shows those that exist.
	ErrNotFound = errors.New("no such engine")
	// ErrNameTaken: another engine has the name.
	ErrNameTaken = errors.New("name is taken")
	// ErrNotRunning: the engine exists and is stopped or still starting.
	ErrNotRunning = errors.New("engine is not running")
	// ErrRunning: the engine runs already.
	ErrRunning = errors.New("engine is running")
)

// SpecError says which setting of a [Spec] cannot be used, and why. Nothing was changed.
type SpecError struct {
	Field   string // as the command line has it: "--memory", "name"
	Problem string // "4 MiB is less than …; give …"
}

func (e *SpecError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Problem) }

// NotRunError says that a command could not be run inside an engine. The OCI runtime has said
// so on standard error.
type NotRunError struct {
	Reason string // what the runtime logged of it
}

func (e *NotRunError) Error() string { return e.Reason }
