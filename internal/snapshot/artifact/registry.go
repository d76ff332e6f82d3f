package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry says how registries are reached.
type Registry struct {
	Keychain  authn.Keychain
	Transport http.RoundTripper
	Insecure  bool // plain HTTP will do
	// Progress, if any, is told how many bytes of how many have been moved.
	Progress func(done, total int64)
}

// ParseReference reads a reference such as registry.example/ci/cache:main.
func (r Registry) ParseReference(s string) (name.Reference, error) {
	opts := []name.Option{name.StrictValidation}
	if r.Insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(s, opts...)
	if err != nil {
		return nil, fmt.Errorf("%q is not a reference of the form HOST/REPOSITORY:TAG", s)
	}
	return ref, nil
}

func (r Registry) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.Transport), remote.WithAuthFromKeychain(r.Keychain), remote.WithUserAgent(userAgent),
	}
}

const userAgent = "berth"

// Push uploads what of the artifact the repository does not have, and then gives it the
// reference. After an error, pushing again moves the rest only.
func (r Registry) Push(ctx context.Context, ref name.Reference, a *Artifact) error {
	img, err := asImage(a)
	if err != nil {
		return err
	}
	opts := r.options(ctx)
	if r.Progress != nil {
		updates := make(chan progress)
		done := make(chan struct{})
		defer func() { <-done }()
		go func() {
			defer close(done)
			for u := range updates {
				r.Progress(u.Complete, u.Total)
			}
		}()
		opts = append(opts, remote.WithProgress(updates))
	}
	if err := remote.Write(ref, img, opts...); err != nil {
		return explain("push", ref, err)
	}
	return nil
}

// Pull reads the manifest and config of a snapshot in a registry. The rest moves when it is
// asked for.
func (r Registry) Pull(ctx context.Context, ref name.Reference) (*Incoming, error) {
	got, err := remote.Get(ref, r.options(ctx)...)
	if err != nil {
		return nil, explain("pull", ref, err)
	}
	repo := ref.Context()
	auth, err := authn.Resolve(ctx, r.Keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("find credentials for %s: %w", repo.RegistryStr(), err)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, r.Transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, explain("pull", ref, err)
	}
	src := &registrySource{repo, &http.Client{Transport: rt}}
	in, err := read(ctx, src, "", got.Manifest)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	in.Remote = true
	return in, nil
}

type registrySource struct {
	repo   name.Repository
	client *http.Client
}

// Open implements [Source]: it asks for the rest of a blob (OCI distribution-spec 1.1,
// "Pulling blobs"). A registry that sends all of it is read past what is known.
func (s *registrySource) Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	url := fmt.Sprintf("%s://%s/v2/%s/blobs/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), d.Digest)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && offset > 0:
		return resp.Body, nil
	case resp.StatusCode == http.StatusOK:
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			resp.Body.Close()
			return nil, err
		}
		return resp.Body, nil
	}
	resp.Body.Close()
	return nil, &StatusError{d, resp.StatusCode}
}

// StatusError is a registry's refusal to send a blob.
type StatusError struct {
	Blob   v1.Descriptor
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the registry answered %d %s for blob %s", e.Status, http.StatusText(e.Status), e.Blob.Digest)
}

// Passing reports whether the same request may succeed later.
func Passing(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status >= 500 || status.Status == http.StatusTooManyRequests || status.Status == http.StatusRequestTimeout
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// explain says what to do about what registries say.
func explain(verb string, ref name.Reference, err error) error {
	var refused *transport.Error
	if errors.As(err, &refused) {
		switch refused.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%s %s: the registry refuses (%d); log in with `docker login %s`", verb, ref, refused.StatusCode, ref.Context().RegistryStr())
		case http.StatusNotFound:
			return fmt.Errorf("%s %s: there is no such snapshot in the registry", verb, ref)
		}
	}
	return fmt.Errorf("%s %s: %w", verb, ref, err)
}
