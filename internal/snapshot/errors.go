package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no snapshot of that name, or not that version of it.
	ErrNotFound = errors.New("no such snapshot")
	// ErrInUse: engines or other snapshots need the snapshot. See [InUseError].
	ErrInUse = errors.New("snapshot is in use")
	// ErrUnfit: the snapshot cannot serve the engine that is to be made of it.
	ErrUnfit = errors.New("snapshot cannot be used")
	// ErrDamaged: what is on disk is not what was frozen.
	ErrDamaged = errors.New("snapshot is damaged")
)

// InUseError names who needs a snapshot that was to be removed.
type InUseError struct {
	Ref       Ref
	Engines   []string // names of engines that are forks of it
	Snapshots []string // NAME@VERSION of snapshots that build on its layers
}

func (e *InUseError) Error() string {
	var users []string
	if len(e.Engines) > 0 {
		users = append(users, "engine "+strings.Join(e.Engines, ", ")+" (end it, or remove it with `berth rm`)")
	}
	if len(e.Snapshots) > 0 {
		users = append(users, "snapshot "+strings.Join(e.Snapshots, ", ")+" (it shares layers)")
	}
	return fmt.Sprintf("snapshot %s is in use by %s", e.Ref, strings.Join(users, " and "))
}

func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// DamagedError says in what a snapshot differs from its manifest.
type DamagedError struct {
	Ref      Ref
	Problems []string // one for each layer, blob or base, and for the rest
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%v: %s: %s; make it anew, or pull or import it again", ErrDamaged, e.Ref, strings.Join(e.Problems, ", "))
}

func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }
