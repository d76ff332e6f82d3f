package berth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/moby/api/pkg/authconfig"
)

func TestKinds(t *testing.T) {
	for _, test := range []struct {
		err  error
		kind error
	}{
		{errors.New("write /x: no space left on device"), ErrNoSpace},
		{fmt.Errorf("write: %w", syscall.ENOSPC), ErrNoSpace},
		{errors.New(`Head "https://x/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`), ErrUntrusted},
		{errors.New("no matching manifest for linux/s390x in the manifest list entries: not found"), ErrNoPlatform},
		{errors.New("no child with platform linux/arm/v6 in index x/app:1"), ErrNoPlatform},
		{errors.New("error from registry: toomanyrequests"), ErrTooManyRequests},
		{errors.New("unexpected status from GET request to https://x/: 429 Too Many Requests"), ErrTooManyRequests},
		{errors.New("failed commit on ref x: unexpected commit digest sha256:a, expected sha256:b: failed precondition"), ErrCorrupt},
		{errors.New("short read: expected 5 bytes but got 3: unexpected EOF"), ErrUnavailable},
		{errors.New("unexpected status from HEAD request to https://x/: 503 Service Unavailable"), ErrUnavailable},
		{errors.New("error from registry: something of its own"), ErrUnavailable},
		{errors.New("unauthorized: incorrect username or password"), ErrUnauthorized},
		{errors.New("no basic auth credentials"), ErrUnauthorized},
		{errors.New("pull access denied for x, repository does not exist or may require 'docker login'"), ErrDenied},
		{errors.New("failed to resolve reference x: x: not found"), ErrNotFound},
		{errors.New("No such image: x"), ErrNotFound},
		{errors.New("failed to solve: failed to read dockerfile: open none: no such file or directory"), ErrNotFound},
		{errors.New("invalid reference format"), ErrInvalidReference},
		{errdefs.ErrNotFound, ErrNotFound},
		{errdefs.ErrConflict, ErrConflict},
		{errdefs.ErrPermissionDenied.WithMessage("no"), ErrDenied},
		{errdefs.ErrUnauthenticated.WithMessage("no"), ErrUnauthorized},
		{errdefs.ErrResourceExhausted.WithMessage("slow down"), ErrTooManyRequests},
		{errdefs.ErrInvalidArgument.WithMessage("bad"), ErrInvalid},
		{errors.New("something else"), nil},
	} {
		if got := kindOf(test.err); got != test.kind {
			t.Errorf("%v: got %v, want %v", test.err, got, test.kind)
		}
		err := wrap(t.Context(), "pull", "x", test.err)
		if test.kind != nil && !errors.Is(err, test.kind) || !errors.Is(err, test.err) {
			t.Errorf("%v has lost its identity", err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	}
}

func TestRetries(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 1},
		{&Error{Kind: ErrUnavailable}, 3},
		{&Error{Kind: ErrTooManyRequests}, 3},
		{&Error{Kind: ErrUnavailable, Reason: "dial: no such host"}, 1},
		{&Error{Kind: ErrNotFound}, 1},
		{&Error{Kind: ErrUnavailable, Err: context.Canceled}, 1},
		{io.EOF, 1},
	} {
		calls := 0
		err := retry(t.Context(), 3, func(Progress) {}, func() error { calls++; return test.err })
		if calls != test.want || !errors.Is(err, test.err) {
			t.Errorf("%v: called %d times, want %d; returned %v", test.err, calls, test.want, err)
		}
	}
}

// TestCause: whoever cancels with a reason finds it again.
func TestCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the user has changed his mind")
	cancel(reason)
	err := wrap(ctx, "pull", "x", io.EOF)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || err.Error() != "pull x: the user has changed his mind" {
		t.Error(err)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "a\nb": "a; b", "denied\ndenied\n": "denied", " a  b \n\n c": "a b; c", "": "",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestPlatforms(t *testing.T) {
	for _, good := range []string{"", "linux/amd64", "linux/arm/v7"} {
		if _, err := parsePlatform("pull", good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"linux", "/", "linux/", "a/b/c/d"} {
		if _, err := parsePlatform("pull", bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRegistryAuth(t *testing.T) {
	for _, ref := range []string{"ubuntu", "registry.test:5000/a/b:1"} {
		named, err := parseReference("pull", ref)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := registryAuth(t.Context(), anonymous{}, named); got != "" || err != nil {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		header, err := registryAuth(t.Context(), oneKey{&authn.Basic{Username: "me", Password: "p"}}, named)
		if err != nil {
			t.Fatal(err)
		}
		c, err := authconfig.Decode(header)
		if err != nil || c.Username != "me" || c.Password != "p" {
			t.Errorf("%s: %+v, %v", ref, c, err)
		}
	}
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func TestResource(t *testing.T) {
	named, err := reference.ParseNormalizedNamed("ubuntu:1")
	if err != nil {
		t.Fatal(err)
	}
	var asked authn.Resource
	_, err = registryAuth(t.Context(), keychainFunc(func(r authn.Resource) { asked = r }), named)
	if err != nil || asked.RegistryStr() != "index.docker.io" || asked.String() != "index.docker.io/library/ubuntu" {
		t.Errorf("asked for %v, %v", asked, err)
	}
}

type keychainFunc func(authn.Resource)

func (f keychainFunc) Resolve(r authn.Resource) (authn.Authenticator, error) {
	f(r)
	return authn.Anonymous, nil
}
