package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// live is a source whose processes do something before each pause.
type live struct {
	t       *testing.T
	between []func()
	paused  bool
	pauses  int
	failed  error // of Resume
}

func (l *live) Pause(context.Context) error {
	if l.paused {
		l.t.Error("paused twice")
	}
	if l.pauses < len(l.between) {
		l.between[l.pauses]()
	}
	l.paused, l.pauses = true, l.pauses+1
	return nil
}

func (l *live) Resume() error {
	if !l.paused {
		l.t.Error("resumed without a pause")
	}
	l.paused = false
	return l.failed
}

// commit adds a layer to a data root.
func commit(t *testing.T, data, id string, n uint64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(data, layersDir, id, "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, layersDir, id, "fs/f"), []byte("layer "+id), 0o644); err != nil {
		t.Fatal(err)
	}
	database(t, filepath.Join(data, snapshotterFile), func(tx *bolt.Tx) {
		b := buckets(t, tx, "v1", "snapshots", "moby/9/sha256:"+id)
		put(t, b, "id", binary.AppendUvarint(nil, n))
		put(t, b, "kind", []byte{kindCommitted})
	})
}

func uncommit(t *testing.T, data, id string) {
	t.Helper()
	database(t, filepath.Join(data, snapshotterFile), func(tx *bolt.Tx) {
		if err := tx.Bucket([]byte("v1")).Bucket([]byte("snapshots")).DeleteBucket([]byte("moby/9/sha256:" + id)); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.RemoveAll(filepath.Join(data, layersDir, id)); err != nil {
		t.Fatal(err)
	}
}

// A live source may make and remove layers between the pauses; what counts is the last.
func TestFreezeLive(t *testing.T) {
	s, data := testStore(t), dataRoot(t)
	commit(t, data, "10", 10)
	l := &live{t: t, between: []func(){
		func() {},
		func() { commit(t, data, "11", 11); uncommit(t, data, "10") },
		func() { commit(t, data, "12", 12) },
		func() { commit(t, data, "13", 13) }, // the round in which it may not go on any more
		func() { t.Error("it had to stand still too often") },
	}}
	// A database of a process that runs is locked.
	locked, err := bolt.Open(filepath.Join(data, metadataFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	m, err := s.Freeze(t.Context(), "ci", nil, Source{Data: data, IDs: own, Isolation: IsolationUserNS, Live: l})
	if err != nil {
		t.Fatal(err)
	}
	if l.paused || l.pauses != 4 {
		t.Errorf("paused: %v, after %d times", l.paused, l.pauses)
	}
	var names []string
	for _, layer := range m.Layers {
		names = append(names, layer.Name)
		if _, err := os.Stat(filepath.Join(data, layersDir, layer.Name, "fs/f")); err != nil {
			t.Errorf("layer %s was taken from the source: %v", layer.Name, err)
		}
	}
	if want := []string{"1", "11", "12", "13"}; !slices.Equal(names, want) {
		t.Errorf("layers %v, want %v", names, want)
	}
	if found, _ := filepath.Glob(filepath.Join(s.Dir(m), "*")); len(found) != 3 { // data layers manifest.json
		t.Errorf("the snapshot has %v", found)
	}
	if found, _ := filepath.Glob(filepath.Join(s.Dir(m), ownLayers, "*")); len(found) != 4 {
		t.Errorf("layers on disk: %v", found)
	}
	if err := s.Verify(t.Context(), m); err != nil {
		t.Error(err)
	}
}

// There is no snapshot of what did not stand still, nor of what can be written to still.
func TestFreezeLiveRefused(t *testing.T) {
	s, data := testStore(t), dataRoot(t)
	l := &live{t: t, failed: errors.New("it went on")}
	src := Source{Data: data, IDs: own, Isolation: IsolationUserNS, Live: l}
	if _, err := s.Freeze(t.Context(), "ci", nil, src); !errors.Is(err, l.failed) {
		t.Errorf("a source that went on: %v", err)
	}
	l.failed = nil
	blobs, err := filepath.Glob(filepath.Join(data, blobsDir, "*"))
	if err != nil || len(blobs) != 1 {
		t.Fatal(blobs, err)
	}
	f, err := os.OpenFile(blobs[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := s.Freeze(t.Context(), "ci", nil, src); err == nil || l.paused {
		t.Errorf("a blob that is open for writing: %v, paused: %v", err, l.paused)
	}
	for _, step := range []string{"pause", "copy", "move"} {
		s.After = func(at string) error {
			if at == "freeze-"+step {
				return errors.New("failed")
			}
			return nil
		}
		if _, err := s.Freeze(t.Context(), "ci", nil, src); err == nil || l.paused {
			t.Errorf("after %s: %v, paused: %v", step, err, l.paused)
		}
	}
	if all, err := s.List(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("there is %v, %v", all, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir(), newDir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
