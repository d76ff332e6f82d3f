package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/snapshot/tree"
)

// packing is the version of how trees become blobs. When [tree.Pack] or the compressor
// makes other bytes of the same tree, it goes up: what was noted before is not believed.
const packing = 1

// packed notes which blobs the trees of a snapshot are, so that what a registry has is
// known without packing it again. It is a cache beside the snapshot: without it, packing
// finds the same.
type packed struct {
	Packing int                   `json:"packing"`
	Data    *packedTree           `json:"data,omitempty"`
	Layers  map[string]packedTree `json:"layers"` // by name
	// Checked are the blobs of the content store that have been found to be what they are called.
	Checked []digest.Digest `json:"checked,omitempty"`
}

type packedTree struct {
	artifact.Tree
	Size int64 `json:"size"` // of the blob
}

func readPacked(dir string) packed {
	p := packed{}
	b, err := os.ReadFile(filepath.Join(dir, packedFile))
	if err != nil || json.Unmarshal(b, &p) != nil || p.Packing != packing {
		p = packed{Packing: packing}
	}
	if p.Layers == nil {
		p.Layers = map[string]packedTree{}
	}
	return p
}

// learn adds to what is noted beside a snapshot, under the lock: others may do the same. What
// cannot be noted is found again.
func (s *Store) learn(ctx context.Context, dir string, add func(*packed)) {
	err := s.lock(ctx, func() error {
		p := readPacked(dir)
		add(&p)
		return p.write(dir)
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("note what blobs a snapshot's trees are", "directory", dir, "error", err)
	}
}

func (p packed) write(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, packedFile), string(b))
}

// marks are the names of overlayfs's marks in snapshots of an isolation.
func marks(isolation string) string {
	if isolation == IsolationRootful {
		return tree.TrustedMarks
	}
	return tree.UserMarks
}

// unpackedSkip leaves out of a snapshot's data what travels as blobs and layers.
func unpackedSkip(root *os.Root) func(rel string) bool {
	return func(rel string) bool {
		if isBlob(rel) {
			return true
		}
		if filepath.Dir(rel) != layersDir {
			return false
		}
		info, err := root.Lstat(filepath.Join(dataDir, rel))
		return err == nil && info.Mode()&fs.ModeSymlink != 0
	}
}

// packer packs one tree of a snapshot.
type packer struct {
	dir     string // of the snapshot
	rel     string // in it
	options func(root *os.Root) tree.Packing
}

func (s *Store) layerPacker(m *Manifest, name string) packer {
	return packer{s.Dir(m), filepath.Join(ownLayers, name), func(*os.Root) tree.Packing {
		return tree.Packing{IDs: m.IDs, Marks: marks(m.Isolation)}
	}}
}

func (s *Store) dataPacker(m *Manifest) packer {
	return packer{s.Dir(m), dataDir, func(root *os.Root) tree.Packing {
		return tree.Packing{IDs: m.IDs, Marks: marks(m.Isolation), Skip: unpackedSkip(root),
			Undated: func(rel string) bool { return rel == layersDir || rel == blobsDir }}
	}}
}

// write packs and compresses the tree, and returns how many bytes it has unpacked.
func (p packer) write(ctx context.Context, w io.Writer) (int64, error) {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	dir, err := root.Open(p.rel)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// One goroutine a blob: the same bytes however many processors there are.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	count := &counter{}
	err = tree.Pack(ctx, dir, io.MultiWriter(z, count), p.options(root))
	return count.n, errors.Join(err, z.Close())
}

// describe finds out what blob the tree is.
func (p packer) describe(ctx context.Context) (packedTree, error) {
	hash, size := digest.SHA256.Digester(), &counter{}
	n, err := p.write(ctx, io.MultiWriter(hash.Hash(), size))
	return packedTree{artifact.Tree{Blob: hash.Digest(), Unpacked: n}, size.n}, err
}

// open packs while it is read.
func (p packer) open(ctx context.Context) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		_, err := p.write(ctx, w)
		w.CloseWithError(err)
	}()
	return r, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// parallel is how many blobs are packed or moved at once.
const parallel = 4

func inParallel(ctx context.Context) (*errgroup.Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	return g, ctx
}
