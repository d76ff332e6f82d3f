package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// statusError is a failure with the answer that a client gets (the distribution
// specification, "Error Codes").
type statusError struct {
	status     int
	code       string
	message    string
	registry   string        // that asks for credentials, with status 401
	retryAfter time.Duration // 0: not said
	unreached  bool          // the registry was not asked, whatever the status says
	err        error
}

func (e *statusError) Error() string {
	if e.err != nil {
		return fmt.Sprintf("%s: %v", e.message, e.err)
	}
	return e.message
}
func (e *statusError) Unwrap() error { return e.err }

func errNotFound(message string) error {
	return &statusError{status: 404, code: "UNSUPPORTED", message: message}
}
func errName(message string) error {
	return &statusError{status: 400, code: "NAME_INVALID", message: message}
}
func errDigest(message string) error {
	return &statusError{status: 400, code: "DIGEST_INVALID", message: message}
}

func errDenied(registry string) error {
	return &statusError{status: 403, code: "DENIED", message: "the mirror's configuration does not allow " + registry}
}

func errUnauthorized(registry string) error {
	return &statusError{status: 401, code: "UNAUTHORIZED", message: registry + " asks for credentials", registry: registry}
}

func errUnknown(t target) error {
	code := map[kind]string{kindManifest: "MANIFEST_UNKNOWN", kindBlob: "BLOB_UNKNOWN"}[t.kind]
	if code == "" {
		code = "NAME_UNKNOWN"
	}
	return &statusError{status: 404, code: code, message: fmt.Sprintf("%s has no %s %s in %s", t.registry, t.kind, t.ref(), t.repo)}
}

func errOffline(t target) error {
	return &statusError{status: 404, code: "BLOB_UNKNOWN", message: fmt.Sprintf("%s %s of %s/%s is not here, and the mirror is offline", t.kind, t.ref(), t.registry, t.repo)}
}

func errUpstream(registry string, err error) error {
	return &statusError{status: 502, code: "UNKNOWN", message: registry + " cannot be reached", err: err}
}

// diskError is the answer when the mirror cannot write: clients go to the registry itself.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &statusError{status: http.StatusInsufficientStorage, code: "UNKNOWN", message: "the mirror's disk is full; give it another with --dir, or bound it with --max-size"}
	}
	return &statusError{status: 500, code: "UNKNOWN", message: "the mirror cannot store", err: err}
}

// fails reports whether err is about a registry that does not do its work, rather than
// about what was asked of it.
func fails(err error) bool {
	var s *statusError
	return err != nil && (!errors.As(err, &s) || s.status >= 500 || s.status == http.StatusTooManyRequests || s.unreached)
}

func status(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return http.StatusInternalServerError
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := &statusError{status: 500, code: "UNKNOWN", message: err.Error()}
	errors.As(err, &e)
	h := w.Header()
	for _, name := range []string{"ETag", "Docker-Content-Digest", "Content-Length", "Accept-Ranges"} {
		h.Del(name)
	}
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="`+e.registry+`", charset="UTF-8"`)
	}
	if e.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int(e.retryAfter.Seconds()))))
	}
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": e.code, "message": e.Error()}}})
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
