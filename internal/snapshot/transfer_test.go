package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/snapshot/boltfile"
)

var there = ids.Range{First: 900000, Size: 65536}

// frozen makes a store with one snapshot, ci@1.
func frozen(t *testing.T) (*Store, *Manifest) {
	t.Helper()
	s := testStore(t)
	m, err := s.Freeze(t.Context(), "ci", []string{"test"}, Source{Data: dataRoot(t), IDs: own, Isolation: IsolationUserNS, Payload: "p"})
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

func export(t *testing.T, s *Store, refs ...Ref) *os.File {
	t.Helper()
	var all []artifact.Named
	for _, ref := range refs {
		out, err := s.Export(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		all = append(all, artifact.Named{Name: out.Ref.String(), Artifact: out.Artifact})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := artifact.WriteArchive(t.Context(), f, all); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// forked makes a copy of a snapshot and describes what is in it.
func forked(t *testing.T, s *Store, m *Manifest) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if _, err := s.Fork(t.Context(), m, Forking{Data: dir, IDs: own, Isolation: m.Isolation, Driver: "copy"}); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(b)
		}
		out[strings.TrimPrefix(path, dir)] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func drafts(t *testing.T, s *Store) []os.DirEntry {
	t.Helper()
	left, _ := os.ReadDir(filepath.Join(s.dir(), newDir))
	return left
}

func TestExportAndImport(t *testing.T) {
	s, m := frozen(t)
	f := export(t, s, m.Ref())
	other := testStore(t)
	all, err := artifact.OpenArchive(t.Context(), f)
	if err != nil || len(all) != 1 || all[0].Name != "ci@1" {
		t.Fatalf("%+v, %v", all, err)
	}
	got, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Verify(t.Context(), got); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(forked(t, s, m), forked(t, other, got)); diff != "" {
		t.Errorf("a fork of what was imported differs: %s", diff)
	}
	if diff := cmp.Diff(m.Images, got.Images); diff != "" || got.Payload != "p" || got.IDs != there || !slices.Equal(got.Volumes, m.Volumes) {
		t.Errorf("%+v: %s", got, diff)
	}
	// Once more: nothing of it takes place twice.
	second, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: own})
	if err != nil || second.Version != 2 || len(second.Layers) != 0 || len(second.Bases) != 1 {
		t.Fatalf("%+v, %v", second, err)
	}
	if diff := cmp.Diff(forked(t, other, got), forked(t, other, second)); diff != "" {
		t.Errorf("a fork that shares layers differs: %s", diff)
	}
	// And back: the same bytes, so nothing has to move.
	again, err := other.Export(t.Context(), second.Ref())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	first, err := s.Export(t.Context(), m.Ref())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if again.Descriptor.Digest != first.Descriptor.Digest {
		t.Errorf("what was imported packs to %s, and was %s", again.Descriptor.Digest, first.Descriptor.Digest)
	}
	nobody := func(string) []string { return nil }
	if _, err := other.Remove(t.Context(), Ref{Name: "ci"}, nobody); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "exported") {
		t.Errorf("a snapshot that is being exported was removed: %v", err)
	}
}

// What an engine has called by a digest that it does not have gets into no other snapshot.
func TestImportBesideFalseBlob(t *testing.T) {
	const blob = blobsDir + "/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	s, m := frozen(t)
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	other := testStore(t)
	for _, text := range []string{"y", "xx"} {
		data := dataRoot(t)
		if err := os.WriteFile(filepath.Join(data, blob), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Freeze(t.Context(), "false", nil, Source{Data: data, IDs: own, Isolation: IsolationUserNS}); err != nil {
			t.Fatal(err)
		}
	}
	var files []os.FileInfo
	for range 2 {
		got, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Verify(t.Context(), got); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(filepath.Join(other.Dir(got), dataDir, blob))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, info)
	}
	if !os.SameFile(files[0], files[1]) {
		t.Error("a blob that is what it is called was not linked")
	}
}

// What a snapshot here has serves another that is on its way, even if the first goes meanwhile.
func TestImportWhileStockGoes(t *testing.T) {
	s, m := frozen(t)
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	r, ref := pushed(t)
	remote, err := r.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []*artifact.Incoming{all[0], remote} {
		other := testStore(t)
		if _, err := other.Freeze(t.Context(), "old", nil, Source{Data: dataRoot(t), IDs: own, Isolation: IsolationUserNS}); err != nil {
			t.Fatal(err)
		}
		going := *other
		going.After = func(at string) error {
			if at != "import-data" {
				return nil
			}
			_, err := other.Remove(t.Context(), Ref{Name: "old"}, func(string) []string { return nil })
			return errors.Join(err, os.RemoveAll(other.paths.Trash()), os.Mkdir(other.paths.Trash(), 0o700))
		}
		got, err := going.Import(t.Context(), in, Importing{Name: "ci", IDs: there})
		if err != nil {
			t.Errorf("remote %v: %v", in.Remote, err)
			continue
		}
		if err := other.Verify(t.Context(), got); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(other.Dir(got), fetchedDir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, %v", left, err)
		}
	}
}

// A draft that its owner takes back at this moment is not gc's.
func TestCollectWhatGoes(t *testing.T) {
	s := testStore(t)
	forget := func(string, string) error { t.Error("there is nothing to forget"); return nil }
	if taken, err := s.collect(s.newDir("gone"), forget); taken || err != nil {
		t.Errorf("%v, %v", taken, err)
	}
}

// The file of an archive that came by a pipe has no name, and one that somebody was killed over
// goes as downloads do.
func TestSpool(t *testing.T) {
	s := testStore(t)
	f, err := s.Spool(strings.NewReader("archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); string(b) != "archive" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Lstat(f.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has a name: %v", err)
	}
	then := time.Now().Add(-2 * downloadsLife)
	if err := errors.Join(os.WriteFile(f.Name(), nil, 0o600), os.Chtimes(f.Name(), then, then)); err != nil {
		t.Fatal(err)
	}
	if err := s.Tidy(t.Context(), func(string) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(f.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

// An archive that is not what its digests say, or says what cannot be, leaves nothing.
func TestImportDamaged(t *testing.T) {
	s, m := frozen(t)
	f := export(t, s, m.Ref())
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := int64(0); at < info.Size(); at += 509 {
		path := filepath.Join(t.TempDir(), "damaged")
		b := slices.Clone(whole)
		b[at] ^= 0x55
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		other := testStore(t)
		err = func() error {
			defer file.Close()
			all, err := artifact.OpenArchive(t.Context(), file)
			if err != nil {
				return err
			}
			got, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there})
			if err == nil { // it was a byte that means nothing
				return other.Verify(t.Context(), got)
			}
			if left, listErr := other.List(t.Context()); listErr != nil || len(left) > 0 {
				t.Errorf("byte %d: %v is there, %v", at, left, listErr)
			}
			return err
		}()
		if err != nil {
			refused++
		}
		if left := drafts(t, other); len(left) > 0 {
			t.Errorf("byte %d: a draft is left", at)
		}
	}
	if refused < 3 {
		t.Errorf("only %d of the damaged archives were refused", refused)
	}
}

// A database in an archive that is not one ends the import, and not berth.
func TestImportCyclicDatabase(t *testing.T) {
	s, m := frozen(t)
	if err := cyclic(t, filepath.Join(s.Dir(m), dataDir, metadataFile), "v1", namespace, "images"); err != nil {
		t.Fatal(err)
	}
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	other := testStore(t)
	_, err = other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there})
	if !errors.Is(err, boltfile.ErrDamaged) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if left := drafts(t, other); len(left) > 0 {
		t.Errorf("a draft is left: %v", left)
	}
}

// An archive chooses modes and owners of what is in its trees. Nobody but root gets there: not
// while the snapshot is made, not to the snapshot, and not to what is left when it is removed.
func TestImportedProgramsOutOfReach(t *testing.T) {
	s, data := testStore(t), dataRoot(t)
	program := filepath.Join(data, layersDir, "1/fs/su")
	if err := errors.Join(os.WriteFile(program, nil, 0o755), os.Chmod(program, 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	m, err := s.Freeze(t.Context(), "ci", nil, Source{Data: data, IDs: own, Isolation: IsolationRootful})
	if err != nil {
		t.Fatal(err)
	}
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	other := testStore(t)
	out := func(name string) {
		t.Helper()
		for dir := filepath.Dir(name); dir != other.paths.State; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 == 0 {
				return
			}
		}
		t.Errorf("all can get to %s", name)
	}
	layer := func(dir string) string { return filepath.Join(dir, ownLayers, "1/fs/su") }
	other.After = func(step string) error {
		if step == "import-layers" {
			out(layer(other.newDir(drafts(t, other)[0].Name())))
		}
		return nil
	}
	got, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: own})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(layer(other.Dir(got)))
	if err != nil || info.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("the program: %v, %v", info.Mode(), err)
	}
	out(layer(other.Dir(got)))
	if _, err := other.Remove(t.Context(), got.Ref(), func(string) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(layer(filepath.Join(other.paths.Trash(), "*")))
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	out(left[0])
}

// A layer made in one isolation is right in the other: its marks change their names.
func TestImportConverts(t *testing.T) {
	s, m := frozen(t)
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Import(t.Context(), all[0], Importing{Name: "root", Isolation: IsolationRootful, IDs: ids.Range{Size: 1 << 31}})
	if err != nil || got.Isolation != IsolationRootful || len(got.Layers) != 1 || len(got.Bases) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := got.Fits(IsolationRootful); err != nil {
		t.Error(err)
	}
}

func testRegistry(t *testing.T, wrap func(http.Handler) http.Handler) (artifact.Registry, name.Reference) {
	t.Helper()
	server := httptest.NewServer(wrap(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	r := artifact.Registry{Keychain: authn.NewMultiKeychain(), Transport: http.DefaultTransport}
	ref, err := r.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/ci/cache:main")
	if err != nil {
		t.Fatal(err)
	}
	return r, ref
}

// Only what the other side does not have moves, in both directions.
func TestPushAndPull(t *testing.T) {
	var up, down atomic.Int64
	r, ref := testRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPatch {
				up.Add(1)
			}
			if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
				down.Add(1)
			}
			h.ServeHTTP(w, req)
		})
	})
	s, m := frozen(t)
	var done, total int64
	r.Progress = func(d, all int64) { done, total = d, all }
	push := func(s *Store, ref name.Reference, m *Manifest) {
		t.Helper()
		out, err := s.Export(t.Context(), m.Ref())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := r.Push(t.Context(), ref, out.Artifact); err != nil {
			t.Fatal(err)
		}
	}
	push(s, ref, m)
	if n := up.Swap(0); n != 4 { // config, data, layer, blob
		t.Errorf("%d blobs were pushed", n)
	}
	if done == 0 || done != total {
		t.Errorf("the last word on progress: %d of %d", done, total)
	}
	push(s, ref, m)
	if n := up.Swap(0); n != 0 {
		t.Errorf("%d blobs were pushed again", n)
	}
	other := testStore(t)
	pull := func() *Manifest {
		t.Helper()
		in, err := r.Pull(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := other.Import(t.Context(), in, Importing{Name: "ci", IDs: there})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := pull()
	if n := down.Swap(0); n != 4 {
		t.Errorf("%d blobs were pulled", n)
	}
	if diff := cmp.Diff(forked(t, s, m), forked(t, other, got)); diff != "" {
		t.Errorf("a fork of what was pulled differs: %s", diff)
	}
	second := pull()
	if n := down.Swap(0); n != 2 { // config and data
		t.Errorf("%d blobs were pulled again", n)
	}
	if left, _ := os.ReadDir(other.Downloads()); len(left) > 0 {
		t.Errorf("downloads are left: %v", left)
	}
	push(other, ref, second)
	if n := up.Swap(0); n != 0 {
		t.Errorf("%d blobs of what was pulled were pushed back", n)
	}
	if _, err := r.Pull(t.Context(), ref.Context().Tag("none")); err == nil || !strings.Contains(err.Error(), "no such snapshot") {
		t.Errorf("%v", err)
	}
}

// pushed is a registry with the snapshot of frozen.
func pushed(t *testing.T) (artifact.Registry, name.Reference) {
	t.Helper()
	return pushedTo(t, func(h http.Handler) http.Handler { return h })
}

// pushedTo is pushed with a registry that wrap makes something else of.
func pushedTo(t *testing.T, wrap func(http.Handler) http.Handler) (artifact.Registry, name.Reference) {
	t.Helper()
	r, ref := testRegistry(t, wrap)
	s, m := frozen(t)
	out, err := s.Export(t.Context(), m.Ref())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := r.Push(t.Context(), ref, out.Artifact); err != nil {
		t.Fatal(err)
	}
	return r, ref
}

// Pulls that have blobs in common take nothing from each other, whoever is done first.
func TestPullsAtOnce(t *testing.T) {
	r, ref := pushed(t)
	for _, step := range []string{"fetch", "data", "layers"} {
		s := testStore(t)
		slow := *s
		pull := func(s *Store, name string) error {
			in, err := r.Pull(t.Context(), ref)
			if err != nil {
				return err
			}
			m, err := s.Import(t.Context(), in, Importing{Name: name, IDs: there})
			if err != nil {
				return err
			}
			return s.Verify(t.Context(), m)
		}
		slow.After = func(at string) error {
			if at == "import-"+step {
				return pull(s, "fast")
			}
			return nil
		}
		if err := pull(&slow, "slow"); err != nil {
			t.Errorf("another that began and ended after %s: %v", step, err)
		}
		done := make(chan error)
		for i := range 4 {
			go func() { done <- pull(s, fmt.Sprint("at-once-", i)) }()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if left, _ := os.ReadDir(s.Downloads()); len(left) > 0 {
			t.Errorf("downloads are left: %v", left)
		}
		if left := drafts(t, s); len(left) > 0 {
			t.Errorf("drafts are left: %v", left)
		}
	}
}

// junk is a registry that has what nobody asked for. It calls asked.
type junk struct{ asked func() }

func (j junk) Open(context.Context, v1.Descriptor, int64) (io.ReadCloser, error) {
	j.asked()
	return io.NopCloser(strings.NewReader("junk")), nil
}

// A snapshot and the download that it came by are one file: nobody writes to that any more.
func TestPullBesideFalseOne(t *testing.T) {
	const text = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	blob := v1.Descriptor{MediaType: artifact.TypeBlob, Digest: digest.NewDigestFromEncoded(digest.SHA256, text), Size: 1}
	r, ref := pushed(t)
	s := testStore(t)
	// Who asks for the blob by another size gets something else.
	beside := *s
	beside.After = func(at string) error {
		if at == "import-blobs" {
			longer := blob
			longer.Size += 4
			ctx, cancel := context.WithCancel(t.Context())
			if err := s.fetchAll(ctx, &artifact.Incoming{Source: junk{cancel}}, []v1.Descriptor{longer}, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
				t.Errorf("another size: %v", err)
			}
		}
		return nil
	}
	in, err := r.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	// What an earlier pull has left is longer than it should be.
	if err := errors.Join(os.MkdirAll(s.Downloads(), 0o700), os.WriteFile(s.download(blob), []byte("x and more"), 0o600)); err != nil {
		t.Fatal(err)
	}
	m, err := beside.Import(t.Context(), in, Importing{Name: "ci", IDs: there})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), m); err != nil {
		t.Error(err)
	}
	// A pull that was killed before it forgot its download, and a disk that has lost what was in it.
	if err := os.WriteFile(s.download(blob), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Link(s.download(blob), other); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.fetchAll(ctx, &artifact.Incoming{Source: junk{cancel}}, []v1.Descriptor{blob}, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a false download: %v", err)
	}
	if got, err := os.ReadFile(other); string(got) != "y" {
		t.Errorf("the other file has %q, %v", got, err)
	}
}

// A push that ends in the middle has moved nothing for nothing, and can be pulled only when it
// was done again.
func TestPushResumes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var begun, arrived atomic.Int64
	two := make(chan struct{})
	r, ref := testRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPatch && begun.Add(1) > 2 && ctx.Err() == nil {
				<-two
				cancel()
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, req)
			if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/blobs/") && arrived.Add(1) == 2 {
				close(two)
			}
		})
	})
	s, m := frozen(t)
	out, err := s.Export(t.Context(), m.Ref())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := r.Push(ctx, ref, out.Artifact); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := r.Pull(t.Context(), ref); err == nil {
		t.Error("half a snapshot can be pulled")
	}
	there := arrived.Swap(0)
	if err := r.Push(t.Context(), ref, out.Artifact); err != nil {
		t.Fatal(err)
	}
	if again := arrived.Load(); there == 0 || there+again != 4 {
		t.Errorf("%d blobs arrived, and then %d more of 4", there, again)
	}
}

// cutter ends answers early.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; err == nil && c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// A connection that breaks is made again, and what has come does not come twice.
func TestPullResumes(t *testing.T) {
	const cut = 200
	var bytes, cuts atomic.Int64
	broken := atomic.Bool{}
	r, ref := pushedTo(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if broken.Load() && req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") && cuts.Add(1) <= 4 {
				bytes.Add(cut)
				w = &cutter{w, cut}
			}
			h.ServeHTTP(w, req)
		})
	})
	in, err := r.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	other := testStore(t)
	// Cancelled in the middle, and then once more.
	ctx, cancel := context.WithCancel(t.Context())
	other.After = func(step string) error {
		if step == "import-fetch" {
			cancel()
		}
		return ctx.Err()
	}
	if _, err := other.Import(ctx, in, Importing{Name: "ci", IDs: there}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if cuts.Load() < 4 {
		t.Errorf("only %d answers were cut", cuts.Load())
	}
	if left := drafts(t, other); len(left) > 0 {
		t.Errorf("a draft is left: %v", left)
	}
	if left, _ := other.List(t.Context()); len(left) > 0 {
		t.Errorf("a snapshot is there: %v", left)
	}
	other.After = nil
	cuts.Store(100) // cut no more
	got, err := other.Import(t.Context(), in, Importing{Name: "ci", IDs: there})
	if err != nil {
		t.Fatal(err)
	}
	if cuts.Load() != 100 {
		t.Errorf("%d blobs were moved twice", cuts.Load()-100)
	}
	if err := other.Verify(t.Context(), got); err != nil {
		t.Error(err)
	}
}

// Whatever fails, at whatever step, leaves nothing.
func TestImportFails(t *testing.T) {
	s, m := frozen(t)
	f := export(t, s, m.Ref())
	for _, step := range []string{"fetch", "data", "layer", "layers", "blobs", "drop", "seal", "describe", "note"} {
		other := testStore(t)
		failed := fmt.Errorf("no more")
		other.After = func(at string) error {
			if at == "import-"+step {
				return failed
			}
			return nil
		}
		all, err := artifact.OpenArchive(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there}); !errors.Is(err, failed) {
			t.Errorf("%s: %v", step, err)
		}
		if left := drafts(t, other); len(left) > 0 {
			t.Errorf("%s: a draft is left", step)
		}
		if left, err := other.List(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", step, left, err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
}

// Metadata holds what a snapshot's does, and no more: above all no way to somebody else's
// layers.
func TestImportStrangeData(t *testing.T) {
	for what, spoil := range map[string]func(data string) error{
		"a link to a layer": func(data string) error {
			return os.Symlink("/var/lib/berth/layers/"+strings.Repeat("0", 32)+"/9", filepath.Join(data, layersDir, "9"))
		},
		"a layer that is a file": func(data string) error { return os.WriteFile(filepath.Join(data, layersDir, "9"), nil, 0o600) },
		"a blob":                 func(data string) error { return os.Mkdir(filepath.Join(data, blobsDir, "x"), 0o700) },
		"an identity":            func(data string) error { return os.WriteFile(filepath.Join(data, "engine-id"), nil, 0o600) },
		"containers":             func(data string) error { return os.Mkdir(filepath.Join(data, "containers"), 0o700) },
		"a link for a directory": func(data string) error { return os.Symlink("/etc", filepath.Join(data, "image")) },
	} {
		s, m := frozen(t)
		if err := spoil(filepath.Join(s.Dir(m), dataDir)); err != nil {
			t.Fatal(err)
		}
		// What travels apart is not in the metadata.
		for _, path := range []string{layersDir + "/1", blobsDir + "/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"} {
			if err := os.RemoveAll(filepath.Join(s.Dir(m), dataDir, path)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(s.Dir(m))
		if err != nil {
			t.Fatal(err)
		}
		i := &importer{draft: &draft{root: root}, in: &artifact.Incoming{}}
		if err := i.checkData(); !errors.Is(err, artifact.ErrNotSnapshot) {
			t.Errorf("%s: %v", what, err)
		}
		root.Close()
	}
}

// The bytes of a packed layer must not change with a library: registries and other machines
// know it by its digest. When this fails, raise packing.
func TestPackedBytes(t *testing.T) {
	s, m := frozen(t)
	dir := filepath.Join(s.Dir(m), ownLayers, "1")
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		mode := map[bool]os.FileMode{true: 0o755, false: 0o644}[e.IsDir()]
		return errors.Join(err, os.Chmod(path, mode), os.Chtimes(path, time.Time{}, time.Unix(1, 5)))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.layerPacker(m, "1").describe(t.Context())
	if err != nil || got.Blob != "sha256:0e4685a4e872226e3d790acb472630cc10daf47841e1a9182e221f32652d2059" {
		t.Errorf("the digest is %s, %v", got.Blob, err)
	}
}

// What blobs a snapshot is made of is noted beside it, by any number of exports at once, and
// none fails for want of the note.
func TestExportsAtOnce(t *testing.T) {
	s, m := frozen(t)
	note := filepath.Join(s.Dir(m), packedFile)
	exports := func() {
		t.Helper()
		done := make(chan error)
		for range 4 {
			go func() {
				out, err := s.Export(t.Context(), m.Ref())
				if err == nil {
					out.Close()
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	for range 10 {
		if err := os.RemoveAll(note); err != nil {
			t.Fatal(err)
		}
		exports()
		if p := readPacked(s.Dir(m)); p.Data == nil || len(p.Layers) != 1 {
			t.Errorf("%+v is noted", p)
		}
	}
	// Two that look at different layers of one base.
	s.learn(t.Context(), s.Dir(m), func(p *packed) { p.Layers["8"] = packedTree{Size: 8} })
	s.learn(t.Context(), s.Dir(m), func(p *packed) { p.Layers["9"] = packedTree{Size: 9} })
	if p := readPacked(s.Dir(m)); p.Data == nil || len(p.Layers) != 3 {
		t.Errorf("%+v is noted", p)
	}
	// It cannot be written at all.
	if err := errors.Join(os.Remove(note), os.MkdirAll(note+"/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	exports()
}

// Small files that somebody was killed over go with gc.
func TestTidyUnfinished(t *testing.T) {
	s, m := frozen(t)
	var left []string
	for _, path := range []string{s.Dir(m) + "/" + packedFile, s.Dir(m) + "/" + manifestFile, filepath.Dir(s.Dir(m)) + "/" + lastFile} {
		left = append(left, path+".new")
	}
	draft := s.newDir("x")
	if err := os.Mkdir(draft, 0o700); err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(draft, manifestFile+".new") // somebody may be at it
	for _, path := range append(left, others) {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Tidy(t.Context(), func(string) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := os.Lstat(others); err != nil {
		t.Error(err)
	}
	if got, err := s.Find(m.Ref()); err != nil || s.Verify(t.Context(), got) != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
