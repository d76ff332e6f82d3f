package berth

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Copy copies an image from one registry to another, without an engine: all its platforms,
// or the one that [WithPlatform] chooses, with digests unchanged. Layers that the target
// has are not sent again. This program itself connects to the registries, so it is what
// has to trust their certificates (see [WithTransport]).
//
// Errors are those of [Engine.Pull].
func Copy(ctx context.Context, src, dst string, opts ...TransferOption) error {
	t := newTransfer(opts)
	from, err := name.ParseReference(src)
	if err != nil {
		return &Error{Op: "copy", Subject: src, Kind: ErrInvalidReference, Reason: err.Error(), Err: err}
	}
	to, err := name.ParseReference(dst)
	if err != nil {
		return &Error{Op: "copy to", Subject: dst, Kind: ErrInvalidReference, Reason: err.Error(), Err: err}
	}
	tell, done := t.listener()
	defer done()
	return retry(ctx, t.tries, tell, func() error { return t.copy(ctx, from, to, tell) })
}

func (t *transfer) copy(ctx context.Context, from, to name.Reference, tell func(Progress)) error {
	tell(Progress{ID: from.String(), Status: "Resolving"})
	desc, err := t.get(ctx, from)
	if err != nil {
		return wrapRegistry(ctx, "copy", from.String(), err)
	}
	updates := make(chan v1.Update, 16)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for u := range updates {
			if u.Error == nil {
				tell(Progress{ID: to.String(), Status: "Copying", Current: u.Complete, Total: u.Total})
			}
		}
	}()
	err = remote.Push(to, desc, append(t.remote(ctx), remote.WithProgress(updates))...) // closes updates
	<-finished
	if err == nil {
		tell(Progress{ID: to.String(), Status: "Copied"})
	}
	return wrapRegistry(ctx, "copy to", to.String(), err)
}

// get asks for an image; of one platform, when that is wanted.
func (t *transfer) get(ctx context.Context, from name.Reference) (*remote.Descriptor, error) {
	opts := t.remote(ctx)
	if t.platform == "" {
		return remote.Get(from, opts...)
	}
	p, err := parsePlatform("copy", t.platform)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(from, append(opts, remote.WithPlatform(v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}))...)
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	return remote.Get(from.Context().Digest(digest.String()), opts...)
}

func (t *transfer) remote(ctx context.Context) []remote.Option {
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(t.keychain)}
	if t.transport != nil {
		opts = append(opts, remote.WithTransport(t.transport))
	}
	return opts
}

// wrapRegistry makes an error of a registry one of this package: there, status and code say it all.
func wrapRegistry(ctx context.Context, op, subject string, err error) error {
	var refused *transport.Error
	if err == nil || ctx.Err() != nil || !errors.As(err, &refused) {
		return wrap(ctx, op, subject, err)
	}
	return &Error{Op: op, Subject: subject, Kind: kindOfStatus(refused.StatusCode, err), Reason: err.Error(), Err: err}
}

func kindOfStatus(status int, err error) error {
	switch {
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusTooManyRequests:
		return ErrTooManyRequests
	case status >= 500, status == http.StatusRequestTimeout:
		return ErrUnavailable
	}
	return kindOf(err)
}

// Copy pulls an image through the engine, which keeps it, and pushes it under another
// name: for registries that the engine reaches and this program does not. Credentials are
// looked up for both. Only one platform is copied, the engine's unless [WithPlatform] says
// another.
func (e *Engine) Copy(ctx context.Context, src, dst string, opts ...TransferOption) error {
	if _, err := parseReference("copy to", dst); err != nil {
		return err
	}
	img, err := e.Pull(ctx, src, opts...)
	if err != nil {
		return err
	}
	if err := e.Tag(ctx, img.Ref, dst); err != nil {
		return err
	}
	return e.Push(ctx, dst, append(opts, WithPlatform(img.Platform))...)
}
