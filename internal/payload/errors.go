package payload

import (
	"errors"
	"fmt"
)

// ErrNotBuilt says that the program was compiled without a payload.
var ErrNotBuilt = errors.New("this berth was built without its payload; build it with `make build`")

// TamperedError says that an extracted payload is not what was extracted.
type TamperedError struct {
	Path   string // the file or directory that differs
	Reason string // how it differs
	Remove string // the directory whose removal mends it
}

func (e *TamperedError) Error() string {
	return fmt.Sprintf("payload: %s %s since it was extracted: find out why, then remove %s and try again",
		e.Path, e.Reason, e.Remove)
}

// CorruptError says that the embedded payload itself is damaged.
type CorruptError struct {
	What string // the archive or manifest
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("payload: the embedded %s is damaged (%v): get this berth program again", e.What, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
