package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/lazyregexp"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot/boltfile"
)

// containerd's databases (bbolt), as far as a snapshot needs them:
//
//	metadata.db   v1/snapshots/"<namespace>/<n>/<key>"/{id: uvarint, kind: byte}
//	meta.db       v1/<namespace>/images/<name>/target/{digest, mediatype, size: varint}
//	              v1/<namespace>/leases/<id>/…
//	              v1/<namespace>/containers/<id>/…   as long as the container runs
//
// dockerd names the lease and the snapshots of a container by the container's id.
const namespace = "moby"

// kindCommitted is a snapshot that never changes any more (containerd, core/snapshots).
const kindCommitted = 3

// unpacking begins the key of a layer that a pull has not unpacked to its end (containerd,
// core/snapshots, UnpackKeyPrefix). A fork's pull begins anew.
const unpacking = "extract-"

var containerKey = lazyregexp.New(`^[0-9a-f]{64}$`)

// withDatabase opens a database of a data root, which an engine may have filled with
// anything: a link out of the root is refused, and a file that breaks the rules of bbolt
// is an error ([boltfile.ErrDamaged]) and not the end of this process.
func withDatabase(root *os.Root, name string, readOnly bool, f func(*bolt.DB) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: it is damaged: %v", name, p)
		}
	}()
	open := func(_ string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := root.OpenFile(name, flag&^os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() {
			f.Close()
			return nil, fmt.Errorf("%s is not a file", name)
		}
		// The very file that bbolt gets: nobody writes to it meanwhile.
		if err := boltfile.CheckFile(f, info.Size()); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil // the engine had no use for it
	}
	db, err := bolt.Open(name, 0o600, &bolt.Options{ReadOnly: readOnly, OpenFile: open, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("read %s: %w; was the engine stopped cleanly?", name, err)
	}
	defer db.Close()
	return f(db)
}

// layerKind says what is to become of a directory of the snapshotter.
type layerKind int

const (
	unknown   layerKind = iota // the database does not know it, or nobody will go on with it
	container                  // it belongs to a container
	committed                  // immutable
	active                     // a build cache's, written to by later builds
)

// layerKinds reads the snapshotter's database, a file below root: what each directory, by
// name, is.
func layerKinds(root *os.Root, file string) (map[string]layerKind, error) {
	kinds := map[string]layerKind{}
	err := withDatabase(root, file, true, func(db *bolt.DB) error {
		return db.View(func(tx *bolt.Tx) error {
			snapshots := bucket(tx, "v1", "snapshots")
			if snapshots == nil {
				return nil
			}
			return snapshots.ForEachBucket(func(key []byte) error {
				b := snapshots.Bucket(key)
				id, n := binary.Uvarint(b.Get([]byte("id")))
				kind := b.Get([]byte("kind"))
				if n <= 0 || len(kind) != 1 {
					return fmt.Errorf("read %s: snapshot %q has no id or kind", file, key)
				}
				kinds[strconv.FormatUint(id, 10)] = classify(string(key), kind[0])
				return nil
			})
		})
	})
	return kinds, err
}

// classify takes a key <namespace>/<n>/<key>. What is committed is a layer, also that
// between a container and its image (<id>-init): docker commit builds on it.
func classify(key string, kind byte) layerKind {
	switch {
	case kind == kindCommitted:
		return committed
	case strings.Contains(key, "/"+unpacking):
		return unknown
	case containerKey().MatchString(key[strings.LastIndexByte(key, '/')+1:]):
		return container
	}
	return active
}

func bucket(tx *bolt.Tx, path ...string) *bolt.Bucket {
	b := tx.Bucket([]byte(path[0]))
	for _, name := range path[1:] {
		if b == nil {
			return nil
		}
		b = b.Bucket([]byte(name))
	}
	return b
}

// dropContainers makes containerd collect what containers had: nobody holds a lease on it,
// nor is it one's root.
func dropContainers(root *os.Root) error {
	return withDatabase(root, metadataFile, false, func(db *bolt.DB) error {
		return db.Update(func(tx *bolt.Tx) error {
			for _, kind := range []string{"leases", "containers"} {
				if err := dropByID(bucket(tx, "v1", namespace, kind)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// dropByID deletes what a bucket, if there is one, has under the ids of containers.
func dropByID(b *bolt.Bucket) error {
	if b == nil {
		return nil
	}
	var drop [][]byte
	err := b.ForEachBucket(func(id []byte) error {
		if containerKey().Match(id) {
			drop = append(drop, bytes.Clone(id))
		}
		return nil
	})
	for _, id := range drop {
		if err == nil {
			err = b.DeleteBucket(id)
		}
	}
	return err
}

// images lists the images that have a name.
func images(root *os.Root) ([]Image, error) {
	var out []Image
	err := withDatabase(root, metadataFile, true, func(db *bolt.DB) error {
		return db.View(func(tx *bolt.Tx) error {
			all := bucket(tx, "v1", namespace, "images")
			if all == nil {
				return nil
			}
			return all.ForEachBucket(func(name []byte) error {
				target := all.Bucket(name).Bucket([]byte("target"))
				if target == nil || strings.HasPrefix(string(name), "moby-dangling@") {
					return nil
				}
				digest := string(target.Get([]byte("digest")))
				out = append(out, Image{string(name), digest, contentSize(root, digest, map[string]bool{})})
				return nil
			})
		})
	})
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// descriptors are the references in a manifest or an index (OCI image-spec).
type descriptors struct {
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

type descriptor struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// contentSize adds up those parts of an image that are there.
func contentSize(root *os.Root, digest string, seen map[string]bool) int64 {
	const largestManifest = 4 << 20
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || seen[digest] || strings.ContainsRune(hex, '/') {
		return 0
	}
	seen[digest] = true
	info, err := root.Lstat(blobsDir + "/" + hex)
	if err != nil || !info.Mode().IsRegular() {
		return 0 // of another platform
	}
	total := info.Size()
	if total > largestManifest {
		return total
	}
	b, err := root.ReadFile(blobsDir + "/" + hex)
	var d descriptors
	if err != nil || len(b) == 0 || b[0] != '{' || json.Unmarshal(b, &d) != nil {
		return total
	}
	for _, part := range slices.Concat(d.Manifests, []descriptor{d.Config}, d.Layers) {
		total += contentSize(root, part.Digest, seen)
	}
	return total
}
