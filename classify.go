package berth

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
)

// A fault is how an error shows itself in the words of dockerd, containerd or a registry.
// dockerd sends most errors of a pull as text after its status of success, so that text is
// all there is. What comes first counts: the words of a more particular fault are above.
type fault struct {
	kind  error
	words []string // any of them, in lower case
}

var faults = []fault{
	{ErrNoSpace, []string{"no space left on device", "disk quota exceeded"}},
	{ErrUntrusted, []string{"x509:", "certificate signed by unknown authority", "tls: failed to verify"}},
	{ErrNoPlatform, []string{"no matching manifest for", "does not provide the specified platform", "does not match the specified platform", "no match for platform in manifest", "no child with platform"}},
	{ErrTooManyRequests, []string{fromRegistry + "toomanyrequests", "429 too many requests", "too many requests"}},
	{ErrCorrupt, []string{"unexpected commit digest", "failed commit on ref", "digest mismatch", "unexpected digest", "digest does not match", "failed size validation", "wrong diff id"}},
	{ErrUnavailable, []string{
		fromRegistry + "unavailable", "service unavailable", "500 internal server error", "502 bad gateway", "504 gateway timeout", "unexpected eof", ": eof",
		"connection refused", "connection reset", "broken pipe", "i/o timeout", "no route to host", "network is unreachable",
		"no such host", "server misbehaving", "tls handshake timeout", "request canceled while waiting", "awaiting headers",
		"client.timeout", "context deadline exceeded", "http2: ", "stream error", "server gave http response to https client", "first record does not look like a tls handshake",
	}},
	{ErrUnauthorized, []string{fromRegistry + "unauthorized", "401 unauthorized", "unauthorized:", "authentication required", "no basic auth credentials", "incorrect username or password", "failed to authorize", "failed to fetch oauth token", "failed to fetch anonymous token"}},
	{ErrDenied, []string{fromRegistry + "denied", "pull access denied", "push access denied", "denied:", "requested access to the resource is denied", "403 forbidden", "insufficient_scope", "insufficient scope"}},
	{ErrNotFound, []string{"manifest unknown", "name unknown", "blob unknown", "repository name not known", "not found", "no such image", "does not exist", "no such container", "failed to read dockerfile: open"}},
	{ErrInvalidReference, []string{"invalid reference format", "repository name must be lowercase"}},
}

// fromRegistry begins what dockerd says when a registry answered with an error of its own.
// The HTTP status is not told then.
const fromRegistry = "error from registry: "

// kindOf tells what kind of error it is, by its type where that says enough.
func kindOf(err error) error {
	text := strings.ToLower(err.Error())
	for _, f := range faults {
		for _, w := range f.words {
			if strings.Contains(text, w) {
				return f.kind
			}
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return ErrNoSpace
	case errdefs.IsNotFound(err):
		return ErrNotFound
	case errdefs.IsUnauthorized(err):
		return ErrUnauthorized
	case errdefs.IsPermissionDenied(err):
		return ErrDenied
	case errdefs.IsResourceExhausted(err):
		return ErrTooManyRequests
	case errdefs.IsConflict(err), errdefs.IsAlreadyExists(err):
		return ErrConflict
	case errdefs.IsInvalidArgument(err):
		return ErrInvalid
	case errdefs.IsUnavailable(err), errors.As(err, new(net.Error)), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return ErrUnavailable
	case strings.Contains(text, fromRegistry):
		return ErrUnavailable // most of what has no code of its own is status 500
	}
	return nil
}

// wrap makes an error of the Docker client, or of a stream, one of this package.
func wrap(ctx context.Context, op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return canceled(ctx, op, subject)
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	reason := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	return &Error{Op: op, Subject: subject, Kind: kindOf(err), Reason: reason, Err: err}
}

// streamError is the error that a message of a stream carries.
func streamError(m jsonstream.Message) error {
	if m.Error == nil {
		return nil
	}
	return m.Error
}

// worthARetry tells whether the same may go well a little later.
func worthARetry(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.Is(err, ErrUnavailable) && !permanent(err) || errors.Is(err, ErrTooManyRequests)
}

// permanent are faults of a registry's address, which waiting does not mend.
func permanent(err error) bool {
	text := strings.ToLower(err.Error())
	for _, w := range []string{"no such host", "server gave http response to https client", "first record does not look like a tls handshake"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
