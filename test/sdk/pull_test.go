package sdk

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

func TestPullIsUsableAtOnce(t *testing.T) {
	r, opts := serve(t, registry.Options{})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	var mu sync.Mutex
	var steps []berth.Progress
	img, err := e.Pull(t.Context(), ref, berth.WithProgress(func(p berth.Progress) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Output(t.Context(), img.ID, nil)
	if err != nil || string(out.Stdout) != image.Greeting+"\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	if len(steps) == 0 || img.Platform == "" || len(img.Digests) != 1 || len(img.Tags) != 1 {
		t.Errorf("image %+v after %d steps", img, len(steps))
	}
	clean(t, e)
	if out, err := e.Output(t.Context(), ref, nil, berth.WithPullMissing()); err != nil || string(out.Stdout) != image.Greeting+"\n" {
		t.Errorf("a missing image: %q, %v", out.Stdout, err)
	}
	if _, err := e.Output(t.Context(), r.Address()+"/none:1", nil, berth.WithPullMissing(berth.WithTries(1))); !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("a missing image that the registry does not have: %v", err)
	}
	var shown strings.Builder
	if _, err := e.Pull(t.Context(), ref, berth.WithProgressTo(&shown)); err != nil || !strings.Contains(shown.String(), "up to date") {
		t.Errorf("shown %q, %v", shown.String(), err)
	}
}

// TestWaysToTrust reaches a private registry without naming it with its authority.
func TestWaysToTrust(t *testing.T) {
	r, _ := serve(t, registry.Options{})
	ref := push(t, r, "app:1", image.Options{}, nil)
	ca, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for title, opt := range map[string]berth.Option{
		"for everything": berth.WithCA(ca), "not at all": berth.WithInsecureRegistry(r.Address()),
	} {
		e := start(t, berth.WithHost(r.Host, "host-gateway"), opt, berth.WithMirror("off"))
		if _, err := e.Pull(t.Context(), ref); err != nil {
			t.Errorf("%s: %v", title, err)
		}
	}
}

func TestPushAndTag(t *testing.T) {
	r, opts := serve(t, registry.Options{User: "me", Password: "secret"})
	e := start(t, opts...)
	img := load(t, e, "sdk.test/busy:1", image.Options{Label: "pushed"})
	ref := r.Address() + "/busy:2"
	if err := e.Tag(t.Context(), img.ID, ref); err != nil {
		t.Fatal(err)
	}
	if err := e.Push(t.Context(), ref); !errors.Is(err, berth.ErrUnauthorized) {
		t.Errorf("push without credentials: %v", err)
	}
	if err := e.Push(t.Context(), ref, berth.WithCredentials("me", "secret")); err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveImage(t.Context(), ref, true); err != nil {
		t.Error(err)
	}
	again, err := e.Pull(t.Context(), ref, berth.WithCredentials("me", "secret"))
	if err != nil || again.ID != img.ID {
		t.Errorf("pulled %+v, %v; want %s", again, err, img.ID)
	}
	if err := e.Tag(t.Context(), img.ID, "Not A Reference"); !errors.Is(err, berth.ErrInvalidReference) {
		t.Error(err)
	}
	if err := e.Tag(t.Context(), "sdk.test/none:1", "sdk.test/x:1"); !errors.Is(err, berth.ErrNotFound) {
		t.Error(err)
	}
}

func TestCredentials(t *testing.T) {
	var token *registry.Registry
	tokens := registry.Options{Host: "token.berth.test"}
	open := newFaulty()
	tokens.Handler = withTokens(open, func() string { return token.Address() }, "me", "secret")
	basic, opts := serve(t, registry.Options{User: "me", Password: "secret"})
	token, more := serve(t, tokens)
	e := start(t, append(opts, more...)...)
	for _, r := range []*registry.Registry{basic, token} {
		ref := push(t, r, "private:1", image.Options{}, &authn.Basic{Username: "me", Password: "secret"})
		if _, err := e.Pull(t.Context(), ref); !errors.Is(err, berth.ErrUnauthorized) && !errors.Is(err, berth.ErrDenied) {
			t.Errorf("%s without credentials: %v", r.Host, err)
		}
		if _, err := e.Pull(t.Context(), ref, berth.WithCredentials("me", "wrong")); !errors.Is(err, berth.ErrUnauthorized) && !errors.Is(err, berth.ErrDenied) {
			t.Errorf("%s with wrong credentials: %v", r.Host, err)
		}
		if _, err := e.Pull(t.Context(), ref, berth.WithCredentials("me", "secret")); err != nil {
			t.Errorf("%s: %v", r.Host, err)
		}
		if err := e.RemoveImage(t.Context(), ref, true); err != nil {
			t.Error(err)
		}
		t.Setenv("DOCKER_CONFIG", dockerConfig(t, r.Address(), "me", "secret"))
		if _, err := e.Pull(t.Context(), ref); err != nil {
			t.Errorf("%s with the Docker configuration: %v", r.Host, err)
		}
	}
}

func authority(t *testing.T, r *registry.Registry) []byte {
	t.Helper()
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// TestOtherCredentials are a credential helper of the Docker configuration, and a keychain.
func TestOtherCredentials(t *testing.T) {
	r, opts := serve(t, registry.Options{User: "me", Password: "secret"})
	ref := push(t, r, "private:1", image.Options{}, &authn.Basic{Username: "me", Password: "secret"})
	e := start(t, opts...)
	dir := t.TempDir()
	write(t, dir, "config.json", `{"credHelpers":{"`+r.Address()+`":"sdk-test"}}`)
	write(t, dir, "docker-credential-sdk-test", "#!/bin/sh\nread host\n"+
		"test \"$1 $host\" = \"get "+r.Address()+"\" || { echo credentials not found in native keychain; exit 1; }\n"+
		`echo '{"Username":"me","Secret":"secret"}'`+"\n")
	if err := os.Chmod(filepath.Join(dir, "docker-credential-sdk-test"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	if _, err := e.Pull(t.Context(), ref); !errors.Is(err, berth.ErrUnauthorized) {
		t.Errorf("with a helper that is not on PATH: %v", err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if _, err := e.Pull(t.Context(), ref); err != nil {
		t.Errorf("with a credential helper: %v", err)
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	clean(t, e)
	if _, err := e.Pull(t.Context(), ref, berth.WithKeychain(keys{r.Address(): {Username: "me", Password: "secret"}})); err != nil {
		t.Errorf("with a keychain: %v", err)
	}
	if _, err := e.Pull(t.Context(), ref, berth.WithKeychain(keys{})); !errors.Is(err, berth.ErrUnauthorized) {
		t.Errorf("with an empty keychain: %v", err)
	}
}

// keys are credentials by registry.
type keys map[string]authn.AuthConfig

func (k keys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if auth, ok := k[r.RegistryStr()]; ok {
		return authn.FromConfig(auth), nil
	}
	return authn.Anonymous, nil
}

func dockerConfig(t *testing.T, host, user, password string) string {
	t.Helper()
	dir := t.TempDir()
	auth, err := (&authn.AuthConfig{Username: user, Password: password}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config.json", []byte(`{"auths":{"`+host+`":`+string(auth)+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatCanGoWrong(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	strange, _ := serve(t, registry.Options{Host: "strange.berth.test"})
	wrong, _ := serve(t, registry.Options{Host: "wrong.berth.test"})
	opts = append(opts, berth.WithHost(strange.Host, "host-gateway"), berth.WithHost(wrong.Host, "host-gateway"),
		berth.WithRegistryCA(wrong.Address(), authority(t, strange)))
	e := start(t, opts...)
	quick := []berth.TransferOption{berth.WithTries(1), berth.WithStallTimeout(2 * time.Second)}
	for _, test := range []struct {
		title string
		ref   string
		spoil spoiler
		opts  []berth.TransferOption
		kind  error
	}{
		{"bad name", "not:a:name", nil, quick, berth.ErrInvalidReference},
		{"no such image", r.Address() + "/none:1", nil, quick, berth.ErrNotFound},
		{"no such tag", r.Address() + "/none/app:none", nil, quick, berth.ErrNotFound},
		{"no such digest", r.Address() + "/app@sha256:" + strings.Repeat("0", 64), nil, quick, berth.ErrNotFound},
		{"bad platform", "", nil, append(quick, berth.WithPlatform("linux")), berth.ErrInvalid},
		{"other platform", "", nil, append(quick, berth.WithPlatform("linux/s390x")), berth.ErrNoPlatform},
		{"unknown authority", strange.Address() + "/app:1", nil, quick, berth.ErrUntrusted},
		{"wrong authority", wrong.Address() + "/app:1", nil, quick, berth.ErrUntrusted},
		{"nobody there", "127.0.0.1:1/app:1", nil, quick, berth.ErrUnavailable},
		{"no such host", "nowhere.berth.test/app:1", nil, quick, berth.ErrUnavailable},
		{"manifest 500", "", status(500, -1, "manifests"), quick, berth.ErrUnavailable},
		{"manifest 503", "", status(503, -1, "manifests"), quick, berth.ErrUnavailable},
		{"manifest 403", "", status(403, -1, "manifests"), quick, berth.ErrDenied},
		{"manifest 401", "", status(401, -1, "manifests"), quick, berth.ErrUnauthorized},
		{"blob 500", "", status(500, -1, "blobs"), quick, berth.ErrUnavailable},
		{"blob 404", "", status(404, -1, "blobs"), quick, berth.ErrNotFound},
		{"manifest hangs", "", hang("manifests"), quick, berth.ErrUnavailable},
		{"blob hangs", "", hang("blobs"), quick, berth.ErrUnavailable},
		{"blob is cut", "", spoilBlobs(-1, cut), quick, berth.ErrUnavailable},
		{"blob is wrong", "", spoilBlobs(-1, garble), quick, berth.ErrCorrupt},
		{"manifest 429", "", status(429, -1, "manifests"), quick, berth.ErrTooManyRequests},
	} {
		t.Run(test.title, func(t *testing.T) {
			f.set(nil)
			ref := test.ref
			if ref == "" { // bytes that no other test has downloaded a part of
				ref = push(t, r, "app:"+strings.ReplaceAll(test.title, " ", "-"), image.Options{Busybox: noise(t)}, nil)
			}
			f.set(test.spoil)
			begin := time.Now()
			_, err := e.Pull(t.Context(), ref, test.opts...)
			if !errors.Is(err, test.kind) {
				t.Errorf("got %v\nwant %v", err, test.kind)
			}
			t.Logf("%s: %v", time.Since(begin).Round(time.Millisecond), err)
			var typed *berth.Error
			if !errors.As(err, &typed) || strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line of a *berth.Error: %q", err)
			}
			clean(t, e)
		})
	}
}

// noise makes a file of bytes like no other.
func noise(t *testing.T) string {
	t.Helper()
	data := make([]byte, 64<<10)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "noise")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// clean removes all images, so that the next pull begins from nothing.
func clean(t *testing.T, e *berth.Engine) {
	t.Helper()
	images, err := e.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		if err := e.RemoveImage(t.Context(), img.ID, true); err != nil {
			t.Error(err)
		}
	}
}

func TestRecovery(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	for _, test := range []struct {
		title string
		spoil spoiler
	}{
		{"manifest 500 twice", status(500, 2, "manifests")},
		{"manifest 429 once", status(429, 1, "manifests")},
		{"blob 502 twice", status(502, 2, "blobs")},
		{"blob is cut once", spoilBlobs(1, cut)},
	} {
		t.Run(test.title, func(t *testing.T) {
			f.set(test.spoil)
			img, err := e.Pull(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Output(t.Context(), img.ID, nil); err != nil {
				t.Error(err)
			}
			clean(t, e)
		})
	}
}

// TestNoRetryInVain: what a registry refuses it refuses again.
func TestNoRetryInVain(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	for code, kind := range map[int]error{401: berth.ErrUnauthorized, 403: berth.ErrDenied} {
		f.set(status(code, -1, "manifests"))
		if _, err := e.Pull(t.Context(), ref, berth.WithTries(1)); !errors.Is(err, kind) {
			t.Errorf("%d: %v", code, err)
		}
		once := f.counted("GET manifests")
		if _, err := e.Pull(t.Context(), ref, berth.WithTries(5)); !errors.Is(err, kind) {
			t.Errorf("%d: %v", code, err)
		}
		if n := f.counted("GET manifests"); n != 2*once {
			t.Errorf("%d: %d requests at the second pull, %d at the first", code, n-once, once)
		}
	}
	f.set(status(503, -1, "manifests"))
	if _, err := e.Pull(t.Context(), ref, berth.WithTries(3)); !errors.Is(err, berth.ErrUnavailable) {
		t.Error(err)
	}
	if n := f.counted("GET manifests"); n < 3 {
		t.Errorf("%d requests of three tries", n)
	}
}

func TestCancelledPull(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	ref := push(t, r, "app:1", image.Options{}, nil)
	e := start(t, opts...)
	f.set(hang("blobs"))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := e.Pull(ctx, ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("giving up took %s", took)
	}
	f.set(nil)
	if _, err := e.Pull(t.Context(), ref); err != nil {
		t.Errorf("after a pull that was cancelled: %v", err)
	}
}

// TestPullsOfOneImageAreOne also has some of those who wait give up.
func TestPullsOfOneImageAreOne(t *testing.T) {
	f := newFaulty()
	r, opts := serve(t, registry.Options{Handler: f})
	ref := push(t, r, "app:1", image.Options{Ballast: 8 << 20}, nil)
	e := start(t, opts...)
	f.set(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) bool {
		if kindOfPath(req.URL.Path) == "manifests" {
			time.Sleep(200 * time.Millisecond)
		}
		return false
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i < 3 {
				time.AfterFunc(20*time.Millisecond, cancel)
			}
			_, err := e.Pull(ctx, ref, berth.WithProgress(func(berth.Progress) {}))
			if i < 3 && !errors.Is(err, context.Canceled) || i >= 3 && err != nil {
				t.Errorf("pull %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	if n := f.counted("GET manifests") + f.counted("HEAD manifests"); n > 4 {
		t.Errorf("%d requests for manifests", n)
	}
}
