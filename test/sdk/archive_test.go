package sdk

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// TestSaveAndLoad sends images through both kinds of archive; nothing of them may change.
func TestSaveAndLoad(t *testing.T) {
	r, opts := serve(t, registry.Options{})
	one := push(t, r, "one:1", image.Options{Label: "one"}, nil)
	two := push(t, r, "two:1", image.Options{Label: "two"}, nil)
	e := start(t, opts...)
	var want []string
	for _, ref := range []string{one, two} {
		img, err := e.Pull(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, img.ID)
	}
	var archive bytes.Buffer
	if err := e.Save(t.Context(), &archive, one, two); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if err := e.SaveDir(t.Context(), dir, one, two); err != nil {
		t.Fatal(err)
	}
	saved, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(saved); err != nil {
		t.Errorf("the layout is not valid: %v", err)
	}
	clean(t, e)
	for title, load := range map[string]func() ([]berth.Image, error){
		"archive": func() ([]berth.Image, error) { return e.Load(t.Context(), bytes.NewReader(archive.Bytes())) },
		"layout":  func() ([]berth.Image, error) { return e.LoadDir(t.Context(), dir) },
	} {
		images, err := load()
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		var got []string
		for _, img := range images {
			got = append(got, img.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", title, got, want)
		}
		if _, err := e.Output(t.Context(), one, nil); err != nil {
			t.Errorf("%s: %v", title, err)
		}
		clean(t, e)
	}
	if err := e.SaveDir(t.Context(), dir, one); !errors.Is(err, berth.ErrInvalid) {
		t.Errorf("save over a layout: %v", err)
	}
	if err := e.Save(t.Context(), io.Discard, "sdk.test/none:1"); !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("save of nothing: %v", err)
	}
}

func TestLoadOfWhatIsNoImage(t *testing.T) {
	e := start(t)
	var empty bytes.Buffer
	tar.NewWriter(&empty).Close()
	for title, data := range map[string]string{
		"nothing": "", "text": "this is no archive", "empty archive": empty.String(),
	} {
		if _, err := e.Load(t.Context(), strings.NewReader(data)); !errors.Is(err, berth.ErrInvalid) {
			t.Errorf("%s: %v", title, err)
		}
	}
	if _, err := e.Load(t.Context(), io.MultiReader(strings.NewReader("x"), failing{})); err == nil {
		t.Error("a reader that fails was loaded")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is broken") }

func TestImport(t *testing.T) {
	busybox, err := image.Busybox()
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
	w.Write(program)
	w.Close()
	e := start(t)
	img, err := e.Import(t.Context(), &root, "sdk.test/imported:1", `CMD ["/bin/busybox", "echo", "imported"]`)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Output(t.Context(), img.Ref, nil); err != nil || string(out.Stdout) != "imported\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	images, err := e.Images(t.Context())
	if err != nil || len(images) != 1 || images[0].ID != img.ID {
		t.Errorf("%+v, %v", images, err)
	}
}

// TestCopy takes images from one registry to another in both ways.
func TestCopy(t *testing.T) {
	from, opts := serve(t, registry.Options{Host: "from.berth.test"})
	to, more := serve(t, registry.Options{Host: "to.berth.test", User: "me", Password: "secret"})
	ref := push(t, from, "app:1", image.Options{}, nil)
	e := start(t, append(opts, more...)...)
	want, err := e.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dockerConfig(t, to.Address(), "me", "secret"))
	both := berth.WithTransport(either{from, to})
	if err := berth.Copy(t.Context(), ref, to.Address()+"/direct:1", both); err != nil {
		t.Fatal(err)
	}
	if err := e.Copy(t.Context(), ref, to.Address()+"/through:1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"direct:1", "through:1"} {
		img, err := e.Pull(t.Context(), to.Address()+"/"+name)
		if err != nil || img.ID != want.ID {
			t.Errorf("%s: %s, %v; want %s", name, img.ID, err, want.ID)
		}
	}
	for _, test := range []struct {
		src, dst string
		kind     error
		opts     []berth.TransferOption
	}{
		{from.Address() + "/none:1", to.Address() + "/x:1", berth.ErrNotFound, nil},
		{ref, to.Address() + "/x:1", berth.ErrUnauthorized, []berth.TransferOption{berth.WithCredentials("me", "wrong")}},
		{ref, to.Address() + "/x:1", berth.ErrUntrusted, []berth.TransferOption{berth.WithTransport(distrustful(from))}},
		{"Not A Name", to.Address() + "/x:1", berth.ErrInvalidReference, nil},
	} {
		opts := append([]berth.TransferOption{both, berth.WithTries(1)}, test.opts...)
		if err := berth.Copy(t.Context(), test.src, test.dst, opts...); !errors.Is(err, test.kind) {
			t.Errorf("%s to %s: %v, want %v", test.src, test.dst, err, test.kind)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := berth.Copy(ctx, ref, to.Address()+"/x:1", both); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// distrustful reaches a registry and knows no authority.
func distrustful(r *registry.Registry) http.RoundTripper {
	rt := r.Transport().(*http.Transport)
	rt.TLSClientConfig.RootCAs = x509.NewCertPool()
	return rt
}

func TestBuild(t *testing.T) {
	e := start(t)
	base := load(t, e, "sdk.test/busy:1", image.Options{})
	dir := t.TempDir()
	write(t, dir, "Dockerfile", `
FROM `+base.Ref+` AS first
ARG WHO=nobody
RUN --mount=type=secret,id=key test $(wc -c </run/secrets/key) = 4
RUN --mount=type=cache,target=/cache echo "built for $WHO" >/made
COPY note /note
FROM first AS second
RUN echo second >>/made
`)
	write(t, dir, "note", "from the context\n")
	var steps int
	opts := []berth.BuildOption{
		berth.WithTag("sdk.test/built:1"), berth.WithTag("sdk.test/built:2"), berth.WithBuildArg("WHO", "me"), berth.WithSecret("key", []byte("hush")),
		berth.WithTransfer(berth.WithProgress(func(berth.Progress) { steps++ })),
	}
	img, err := e.Build(t.Context(), dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Output(t.Context(), img.ID, []string{"cat", "/made", "/note"}); err != nil || string(out.Stdout) != "built for me\nsecond\nfrom the context\n" {
		t.Errorf("%q, %v", out.Stdout, err)
	}
	if steps == 0 || len(img.Tags) != 2 {
		t.Errorf("%d steps, tags %v", steps, img.Tags)
	}
	first, err := e.Build(t.Context(), dir, append(opts, berth.WithTarget("first"))...)
	if err != nil || first.ID == img.ID {
		t.Errorf("target: %v, %v", first.ID, err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Build(t.Context(), "-", append(opts, berth.WithContextTar(&archive))...); err != nil {
		t.Errorf("from a tar archive: %v", err)
	}
	// A step that fails says what it printed.
	_, err = e.Build(t.Context(), dir, berth.WithSecret("key", []byte("wrong-hush")))
	var step *berth.BuildError
	if !errors.As(err, &step) || !strings.Contains(step.Step, "RUN") {
		t.Errorf("failing step: %v", err)
	}
	t.Log(err)
	if strings.Contains(err.Error(), "hush") {
		t.Error("the secret is in the error")
	}
	for _, missing := range [][]string{{dir + "/none", "Dockerfile"}, {dir, "none"}} {
		if _, err := e.Build(t.Context(), missing[0], berth.WithDockerfile(missing[1])); !errors.Is(err, berth.ErrNotFound) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", missing, err)
		}
	}
	write(t, dir, "Other", "FROM "+base.Ref+"\nRUN cat /proc/sys/kernel/random/uuid >/when\n")
	var made []string
	for _, opts := range [][]berth.BuildOption{nil, nil, {berth.WithNoCache()}} {
		img, err := e.Build(t.Context(), dir, append(opts, berth.WithDockerfile("Other"))...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Output(t.Context(), img.ID, []string{"cat", "/when"})
		if err != nil {
			t.Error(err)
		}
		made = append(made, string(out.Stdout))
	}
	if made[0] != made[1] || made[1] == made[2] {
		t.Errorf("built with, with, and without the cache: %q", made)
	}
	write(t, dir, "Other", "FROM sdk.test/nowhere:1\n")
	if _, err := e.Build(t.Context(), dir, berth.WithDockerfile("Other")); !errors.Is(err, berth.ErrUnavailable) && !errors.Is(err, berth.ErrNotFound) {
		t.Errorf("missing base: %v", err)
	}
	buildFromGit(t, e, dir)
}

// TestBuildFromPrivateBase: credentials are those of the Docker configuration.
func TestBuildFromPrivateBase(t *testing.T) {
	r, opts := serve(t, registry.Options{User: "me", Password: "secret"})
	base := push(t, r, "base:1", image.Options{}, &authn.Basic{Username: "me", Password: "secret"})
	e := start(t, opts...)
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM "+base+"\nRUN echo made >/made\n")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if _, err := e.Build(t.Context(), dir); !errors.Is(err, berth.ErrUnauthorized) {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("DOCKER_CONFIG", dockerConfig(t, r.Address(), "me", "secret"))
	if _, err := e.Build(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// buildFromGit serves the directory as a repository over HTTP.
func buildFromGit(t *testing.T, e *berth.Engine, dir string) {
	t.Helper()
	bare := filepath.Join(t.TempDir(), "repo.git")
	for _, args := range [][]string{
		{"-C", dir, "init", "-q"}, {"-C", dir, "add", "Dockerfile", "note"},
		{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"},
		{"clone", "-q", "--bare", dir, bare}, {"-C", bare, "update-server-info"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Skipf("git %v: %v: %s", args, err, out)
		}
	}
	address := files(t, filepath.Dir(bare))
	_, err := e.Build(t.Context(), "http://"+address+"/repo.git", berth.WithSecret("key", []byte("hush")))
	if err != nil {
		t.Errorf("from git: %v", err)
	}
}
