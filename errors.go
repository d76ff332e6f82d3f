package berth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/attend"
)

// What can go wrong, for errors.Is. Cancelled calls return an error that is
// [context.Canceled] or [context.DeadlineExceeded], and the context's cause. docs/guide/sdk.md says what to do.
var (
	// About engines.
	ErrNoBinary   = errors.New("no berth program")
	ErrNoPayload  = errors.New("berth was built without its payload")
	ErrUnable     = errors.New("this machine cannot run engines")
	ErrPrivilege  = errors.New("not permitted to make engines")
	ErrNameTaken  = errors.New("name is taken")
	ErrNotRunning = errors.New("engine is not running")
	ErrInvalid    = errors.New("invalid argument") // a setting, option or argument that cannot be used

	// About images and containers, too.
	ErrNotFound         = errors.New("not found") // engine, image, tag, container
	ErrInvalidReference = errors.New("invalid image reference")
	ErrNoPlatform       = errors.New("image has no such platform")
	ErrUnauthorized     = errors.New("unauthorized") // credentials are missing or wrong
	ErrDenied           = errors.New("denied")       // credentials do not suffice, or the image is private
	ErrUntrusted        = errors.New("certificate is not trusted")
	ErrUnavailable      = errors.New("unavailable") // a registry or an engine does not answer as it should; worth a retry later
	ErrTooManyRequests  = errors.New("too many requests")
	ErrCorrupt          = errors.New("content does not match its digest")
	ErrNoSpace          = errors.New("no space left")
	ErrConflict         = errors.New("in use") // an image or a name that a container uses
)

// Error says what failed, on what, and why. Kind is one of the errors above, or nil where
// none fits; errors.Is finds it.
type Error struct {
	Op      string // "pull", "start"
	Subject string // image, container or engine; may be empty
	Kind    error
	Reason  string // in the words of who refused: registry, dockerd, berth
	Err     error  // what was returned, if anything; an error of the Docker client
}

// Error is one line that ends with what to do, where that is known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	if e.Kind != nil && !strings.Contains(strings.ToLower(e.Reason), e.Kind.Error()) {
		b.WriteString(": " + e.Kind.Error())
	}
	if e.Reason != "" {
		b.WriteString(": " + oneLine(e.Reason))
	}
	if hint := hints[e.Kind]; hint != "" && !strings.Contains(e.Reason, "; ") {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// Unwrap lets errors.Is and errors.As find the kind and the cause.
func (e *Error) Unwrap() []error {
	var out []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// hints say what to do about an error of a kind.
var hints = map[error]string{
	ErrNoBinary:         "install berth, or name it with BERTH_BINARY or berth.WithBinary",
	ErrUnauthorized:     "check the user name and password for that registry (docker login, or berth.WithCredentials)",
	ErrDenied:           "the image does not exist, or these credentials may not use it",
	ErrUntrusted:        "give the engine the registry's authority with berth.WithRegistryCA",
	ErrNoPlatform:       "choose another with berth.WithPlatform",
	ErrInvalidReference: "write it as [registry/]name[:tag][@digest], in lower case",
	ErrNoSpace:          "free some on the disk of berth's state directory",
	ErrTooManyRequests:  "wait, log in, or pull through a mirror",
	ErrCorrupt:          "the registry, or a proxy before it, is damaged; push the image again",
}

// kinds are the errors that cross from the berth process.
var kinds = map[attend.Kind]error{
	attend.KindNotFound: ErrNotFound, attend.KindNameTaken: ErrNameTaken, attend.KindNotRunning: ErrNotRunning,
	attend.KindInvalid: ErrInvalid, attend.KindPrivilege: ErrPrivilege, attend.KindPayload: ErrNoPayload,
	attend.KindNoSpace: ErrNoSpace, attend.KindUnable: ErrUnable,
}

func failed(op, subject string, f *attend.Failure) error {
	return &Error{Op: op, Subject: subject, Kind: kinds[f.Kind], Reason: f.Message}
}

// canceled is the error of a call whose context ended; what it had begun is undone. It is
// both ctx's error and, where ctx was given one, the cause.
func canceled(ctx context.Context, op, subject string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause != err {
		err = errors.Join(err, cause)
	}
	return &Error{Op: op, Subject: subject, Reason: cause.Error(), Err: err}
}

// oneLine joins lines, and leaves out those that only repeat the one before: dockerd's
// joined errors do.
func oneLine(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	lines = slices.DeleteFunc(slices.Compact(lines), func(l string) bool { return l == "" })
	return strings.Join(lines, "; ")
}

// ExitError says that a container's command ended with a status other than 0.
type ExitError struct {
	Container string // its id
	Image     string
	Code      int
	OOMKilled bool   // the kernel ended it at its memory limit
	Stderr    string // the last lines, where nobody else reads them
}

// Error names the image and the status.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("run %s: exit status %d", e.Image, e.Code)
	if e.OOMKilled {
		s += ": killed at its memory limit; give it more with berth.WithMemoryLimit"
	}
	if e.Stderr != "" {
		s += ": " + oneLine(e.Stderr)
	}
	return s
}
