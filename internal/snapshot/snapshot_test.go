package snapshot

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/state"
	"github.com/google/go-cmp/cmp"
)

// Programs that read it need not tell null from empty.
func TestManifestHasNoNullLists(t *testing.T) {
	b, err := json.Marshal(&Manifest{})
	if err != nil || strings.Contains(string(b), "null") {
		t.Errorf("%s (%v)", b, err)
	}
}

func TestParseRef(t *testing.T) {
	for s, want := range map[string]Ref{"ci": {"ci", 0}, "ci@1": {"ci", 1}, "a.b-c_d@12": {"a.b-c_d", 12}} {
		if got, err := ParseRef(s); err != nil || got != want || got.String() != s {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "@1", "ci@", "ci@0", "ci@-1", "ci@01", "ci@x", "ci@1@2", "../x", "a/b", "A", ".new"} {
		if got, err := ParseRef(s); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q was taken for %+v: %v", s, got, err)
		}
	}
}

func TestLeftOut(t *testing.T) {
	for rel, want := range map[string]bool{
		".": false, "buildkit": false, "buildkit/cache.db": false, "buildkit/executor": true, "containers": true, "engine-id": true,
		"volumes": false, "volumes/v/_data": false, "volumesx": true, "network": true, "swarm": true, "tmp": true,
		containerdRoot: false, blobsDir + "/ab": false, contentDir + "/ingest": false, contentDir + "/ingest/x": true, layersDir + "/3": false,
		containerdRoot + "/io.containerd.runtime.v2.task": true, containerdRoot + "/io.containerd.grpc.v1.introspection": true,
	} {
		if got := leftOut(rel, false); got != want {
			t.Errorf("%s left out: %v", rel, got)
		}
	}
}

// dataRoot makes what looks like an engine's data root: a layer, a build cache in use, a
// container's and one blob.
func dataRoot(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners are root's to change")
	}
	dir := filepath.Join(t.TempDir(), "data")
	for _, d := range []string{blobsDir, layersDir + "/1/fs", layersDir + "/2/fs", layersDir + "/3/fs", filepath.Dir(metadataFile), "volumes/v/_data", "containers/x"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		blobsDir + "/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881": "x", layersDir + "/1/fs/f": "layer", layersDir + "/2/fs/f": "cache",
		layersDir + "/3/fs/f": "container", "volumes/v/_data/f": "volume", "engine-id": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	container := strings.Repeat("ab", 32)
	database(t, filepath.Join(dir, snapshotterFile), func(tx *bolt.Tx) {
		for id, key := range []string{1: "moby/1/sha256:aa", 2: "moby/2/cache", 3: "moby/3/" + container} {
			if key == "" {
				continue
			}
			b := buckets(t, tx, "v1", "snapshots", key)
			put(t, b, "id", binary.AppendUvarint(nil, uint64(id)))
			put(t, b, "kind", []byte{map[bool]byte{true: kindCommitted, false: 2}[id == 1]})
		}
	})
	database(t, filepath.Join(dir, metadataFile), func(tx *bolt.Tx) {
		buckets(t, tx, "v1", namespace, "leases", container)
		buckets(t, tx, "v1", namespace, "leases", "build")
		put(t, buckets(t, tx, "v1", namespace, "images", "busy:1", "target"), "digest", []byte("sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"))
	})
	return dir
}

func database(t *testing.T, path string, fill func(*bolt.Tx)) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error { fill(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// cyclic puts many buckets into one, and then has its pages refer to themselves: who goes down
// there, does so until there is no memory left.
func cyclic(t *testing.T, path string, bucket ...string) error {
	t.Helper()
	database(t, path, func(tx *bolt.Tx) {
		for i := range 300 {
			buckets(t, tx, append(bucket, fmt.Sprintf("%064x", i))...)
		}
	})
	b, err := os.ReadFile(path)
	size := os.Getpagesize()
	for page := b; len(page) > size; page = page[size:] {
		const branch, header, element = 1, 16, 16
		if n := binary.NativeEndian.Uint16(page[10:]); binary.NativeEndian.Uint16(page[8:]) == branch {
			for i := range int(n) {
				copy(page[header+i*element+8:][:8], page[:8]) // its number
			}
		}
	}
	return errors.Join(err, os.WriteFile(path, b, 0o600))
}

func buckets(t *testing.T, tx *bolt.Tx, path ...string) *bolt.Bucket {
	t.Helper()
	b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
	for _, name := range path[1:] {
		if err == nil {
			b, err = b.CreateBucketIfNotExists([]byte(name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b *bolt.Bucket, key string, value []byte) {
	t.Helper()
	if err := b.Put([]byte(key), value); err != nil {
		t.Fatal(err)
	}
}

func testStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	paths := state.Paths{Run: dir + "/run", State: dir + "/state"}
	if err := paths.Prepare(); err != nil {
		t.Fatal(err)
	}
	return Open(paths, slog.New(slog.DiscardHandler))
}

var own = ids.Range{First: 0, Size: 65536}

func TestFreezeAndFork(t *testing.T) {
	s, data := testStore(t), dataRoot(t)
	m, err := s.Freeze(t.Context(), "ci", []string{"test"}, Source{Data: data, IDs: own, Isolation: IsolationUserNS})
	if err != nil {
		t.Fatal(err)
	}
	if m.Ref() != (Ref{"ci", 1}) || len(m.Layers) != 1 || len(m.Images) != 1 || m.Images[0].Size != 1 || fmt.Sprint(m.Volumes) != "[v]" {
		t.Errorf("%+v", m)
	}
	if err := s.Verify(t.Context(), m); err != nil {
		t.Error(err)
	}
	fork := t.TempDir()
	to := ids.Range{First: 700000, Size: 65536}
	forked, err := s.Fork(t.Context(), m, Forking{Data: fork, IDs: to, Isolation: IsolationUserNS, Driver: "copy"})
	if err != nil || len(forked.Mounts) != 0 {
		t.Fatalf("%+v, %v", forked, err)
	}
	for name, want := range map[string]string{layersDir + "/1/fs/f": "layer", layersDir + "/2/fs/f": "cache", "volumes/v/_data/f": "volume"} {
		if got, err := os.ReadFile(filepath.Join(fork, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"engine-id", "containers", layersDir + "/3"} {
		if _, err := os.Lstat(filepath.Join(fork, name)); err == nil {
			t.Errorf("%s travelled", name)
		}
	}
	if _, err := s.Fork(t.Context(), m, Forking{Data: t.TempDir(), IDs: to, Isolation: IsolationRootful}); !errors.Is(err, ErrUnfit) {
		t.Errorf("a fork of another isolation: %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir(m), ownLayers, "1/fs/f"), []byte("LAYER"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.Dir(m), dataDir, volumesDir)); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := s.Verify(t.Context(), m); !errors.Is(err, ErrDamaged) || !errors.As(err, &damaged) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("a changed layer and a missing volume: %v", err)
	}
	if p := damaged.Problems; len(p) != 2 || p[0] != "layer 1 was changed" || p[1] != "metadata was changed" {
		t.Errorf("a changed layer and a missing volume: %v", p)
	}
}

// An engine can leave anything where its databases should be.
func TestHostileDataRoot(t *testing.T) {
	for what, spoil := range map[string]func(dir string) error{
		"a link out of it": func(dir string) error {
			os.Remove(filepath.Join(dir, snapshotterFile))
			return os.Symlink("/etc/passwd", filepath.Join(dir, snapshotterFile))
		},
		"no database": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, snapshotterFile), []byte(strings.Repeat("garbage ", 9999)), 0o600)
		},
		"layers that are their own": func(dir string) error { return cyclic(t, filepath.Join(dir, snapshotterFile), "v1", "snapshots") },
		"leases that are their own": func(dir string) error { return cyclic(t, filepath.Join(dir, metadataFile), "v1", namespace, "leases") },
		"a link for a directory": func(dir string) error {
			os.RemoveAll(filepath.Join(dir, layersDir))
			return os.Symlink("/etc", filepath.Join(dir, layersDir))
		},
		"a forged layer": func(dir string) error {
			os.RemoveAll(filepath.Join(dir, layersDir, "1"))
			return os.Symlink(layers.Link(strings.Repeat("0", 32), "1"), filepath.Join(dir, layersDir, "1"))
		},
		"a directory for a blob": func(dir string) error { return os.Mkdir(filepath.Join(dir, blobsDir, "ab"), 0o755) },
	} {
		s, data := testStore(t), dataRoot(t)
		if err := spoil(data); err != nil {
			t.Fatal(err)
		}
		m, err := s.Freeze(t.Context(), "ci", nil, Source{Data: data, IDs: own, Isolation: IsolationUserNS})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
		if left, _ := os.ReadDir(filepath.Join(s.dir(), newDir)); len(left) > 0 {
			t.Errorf("%s: a draft is left", what)
		}
	}
}

func TestRemoveInUse(t *testing.T) {
	s := testStore(t)
	first, err := s.Freeze(t.Context(), "ci", nil, Source{Data: dataRoot(t), IDs: own, Isolation: IsolationUserNS})
	if err != nil {
		t.Fatal(err)
	}
	users := func(id string) []string {
		if id == first.ID {
			return []string{"web"}
		}
		return nil
	}
	var inUse *InUseError
	if _, err := s.Remove(t.Context(), Ref{"ci", 1}, users); !errors.As(err, &inUse) || !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "web") {
		t.Errorf("%v", err)
	}
	nobody := func(string) []string { return nil }
	if removed, err := s.Remove(t.Context(), Ref{"ci", 1}, nobody); err != nil || len(removed) != 1 {
		t.Errorf("%v, %v", removed, err)
	}
	second, err := s.Freeze(context.Background(), "ci", nil, Source{Data: dataRoot(t), IDs: own, Isolation: IsolationUserNS})
	if err != nil || second.Version != 2 {
		t.Errorf("a version was used twice: %+v, %v", second, err)
	}
	if _, err := s.Find(Ref{"ci", 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// frozenTwice is frozen, and a second snapshot that builds on it: the first, exported and imported.
func frozenTwice(t *testing.T) (s *Store, m, second *Manifest, in *artifact.Incoming) {
	t.Helper()
	s, m = frozen(t)
	all, err := artifact.OpenArchive(t.Context(), export(t, s, m.Ref()))
	if err != nil {
		t.Fatal(err)
	}
	second, err = s.Import(t.Context(), all[0], Importing{Name: "ci", IDs: there})
	if err != nil || len(second.Bases) != 1 {
		t.Fatalf("%+v, %v", second, err)
	}
	return s, m, second, all[0]
}

// A version that others build on leaves the layers that they need, and no more.
func TestRetire(t *testing.T) {
	s, m, second, in := frozenTwice(t)
	nobody := func(string) []string { return nil }
	before := forked(t, s, second)
	if err := s.Retire(t.Context(), m.Ref(), func(id string) []string { return []string{"web"} }); !errors.Is(err, ErrInUse) {
		t.Errorf("one that an engine needs was retired: %v", err)
	}
	if err := s.Retire(t.Context(), m.Ref(), nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(m.Ref()); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "ci@2") {
		t.Errorf("a retired version is found: %v", err)
	}
	if left, err := s.List(t.Context()); err != nil || len(left) != 1 || left[0].Version != 2 {
		t.Errorf("%+v, %v", left, err)
	}
	if diff := cmp.Diff(before, forked(t, s, second)); diff != "" {
		t.Errorf("a fork of what builds on it differs: %s", diff)
	}
	if err := s.Verify(t.Context(), second); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Dir(m), dataDir)); err == nil {
		t.Error("its data is still there")
	}
	third, err := s.Import(t.Context(), in, Importing{Name: "ci", IDs: own})
	if err != nil || len(third.Bases) != 1 || len(third.Layers) != 0 {
		t.Errorf("the layers of a retired version are not used: %+v, %v", third, err)
	}
	if err := s.Tidy(t.Context(), nobody); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), second); err != nil {
		t.Errorf("after tidying: %v", err)
	}
	for _, v := range []int{3, 2} {
		if _, err := s.Remove(t.Context(), Ref{"ci", v}, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Tidy(t.Context(), nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Dir(m)); err == nil {
		t.Error("a retired version outlives those that needed it")
	}
}

// What is on its way elsewhere stays whole, also where other snapshots keep it from going for good.
func TestRetireWhileExported(t *testing.T) {
	s, m, second, _ := frozenTwice(t)
	nobody := func(string) []string { return nil }
	for _, exported := range []Ref{m.Ref(), second.Ref()} {
		out, err := s.Export(t.Context(), exported)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Retire(t.Context(), m.Ref(), nobody); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "exported") {
			t.Errorf("while %s is exported: %v", exported, err)
		}
		if err := artifact.WriteArchive(t.Context(), io.Discard, []artifact.Named{{Name: "ci", Artifact: out.Artifact}}); err != nil {
			t.Errorf("%s: %v", exported, err)
		}
		out.Close()
	}
	if err := s.Retire(t.Context(), m.Ref(), nobody); err != nil {
		t.Errorf("when that is over: %v", err)
	}
}

// Looking for a base, which may mean to look at every snapshot, ends with ctx.
func TestLocateCancelled(t *testing.T) {
	s, m, second, _ := frozenTwice(t)
	out, err := s.Export(t.Context(), second.Ref())
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	// A retired base is not found by its name.
	if err := s.Retire(t.Context(), m.Ref(), func(string) []string { return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := s.Export(ctx, second.Ref()); !errors.Is(err, context.Canceled) {
		t.Errorf("export: %+v, %v", out, err)
	}
	if _, err := s.Locate(ctx, second.Bases); !errors.Is(err, context.Canceled) {
		t.Errorf("locate: %v", err)
	}
	missing := *second
	missing.Bases = []layers.Base{{ID: strings.Repeat("0", 32), Snapshot: "gone@1"}}
	var damaged *DamagedError
	if err := s.Verify(t.Context(), &missing); !errors.As(err, &damaged) || len(damaged.Problems) != 1 {
		t.Errorf("without its base: %v", err)
	}
}
