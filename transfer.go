package berth

import (
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// TransferOption changes how an image is pulled, pushed, copied, loaded or built.
type TransferOption func(*transfer)

type transfer struct {
	platform  string
	keychain  authn.Keychain
	progress  func(Progress)
	render    io.Writer
	tries     uint
	stall     time.Duration
	transport http.RoundTripper
}

// Defaults of a transfer.
const (
	defaultTries = 4
	defaultStall = 2 * time.Minute
)

func newTransfer(opts []TransferOption) transfer {
	t := transfer{keychain: authn.DefaultKeychain, tries: defaultTries, stall: defaultStall}
	for _, opt := range opts {
		opt(&t)
	}
	return t
}

// WithPlatform chooses one platform of an image, as "linux/arm64". The default of a pull is
// the engine's own, of a push or a copy all there are.
func WithPlatform(platform string) TransferOption { return func(t *transfer) { t.platform = platform } }

// WithCredentials logs in with a name and a password or token, instead of with what the
// Docker configuration of the program's user says.
func WithCredentials(user, password string) TransferOption {
	return WithKeychain(oneKey{authn.FromConfig(authn.AuthConfig{Username: user, Password: password})})
}

// WithKeychain looks credentials up elsewhere than in the Docker configuration and its
// credential helpers.
func WithKeychain(k authn.Keychain) TransferOption { return func(t *transfer) { t.keychain = k } }

type oneKey struct{ authn.Authenticator }

func (k oneKey) Resolve(authn.Resource) (authn.Authenticator, error) { return k.Authenticator, nil }

// WithProgress has f called as the transfer goes on, from one goroutine at a time.
func WithProgress(f func(Progress)) TransferOption { return func(t *transfer) { t.progress = f } }

// WithProgressTo writes progress to w as the docker CLI does: with bars on a terminal,
// plain lines elsewhere.
func WithProgressTo(w io.Writer) TransferOption { return func(t *transfer) { t.render = w } }

// WithTries bounds how often a transfer is tried while the registry is unavailable, or
// asks to wait; 1 is not to try again. The default is 4, with growing pauses between.
func WithTries(n int) TransferOption { return func(t *transfer) { t.tries = uint(max(n, 1)) } }

// WithStallTimeout says how long a transfer may make no progress at all until it counts as
// [ErrUnavailable]. The default is two minutes; 0 is to wait for ever.
func WithStallTimeout(d time.Duration) TransferOption { return func(t *transfer) { t.stall = d } }

// WithTransport is for [Copy] between registries: how this program reaches them.
func WithTransport(rt http.RoundTripper) TransferOption {
	return func(t *transfer) { t.transport = rt }
}

// Progress is one step of a transfer or a build.
type Progress struct {
	ID      string // layer or build step; empty for the whole
	Status  string // "Downloading", "Pull complete"
	Text    string // what a build step printed
	Current int64  // bytes so far
	Total   int64  // bytes; 0 when not known
}
