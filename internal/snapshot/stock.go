package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// stock is what snapshots here have that another may need as well.
type stock struct {
	layers map[digest.Digest]stockedLayer
	blobs  map[digest.Digest]stockedBlob
}

// stockedBlob is a file that some engine, or berth, has called by a digest.
type stockedBlob struct {
	path    string
	checked bool // it has that digest
}

type stockedLayer struct {
	base layers.Base
	name string
}

// stock looks at all snapshots: at the layers of those with the isolation, as far as it is
// known what blobs they are, and at the content stores. The newest counts, for it stays longest.
func (s *Store) stock(ctx context.Context, isolation string) (stock, error) {
	out := stock{map[digest.Digest]stockedLayer{}, map[digest.Digest]stockedBlob{}}
	all, err := s.all(ctx)
	if err != nil {
		return out, err
	}
	for _, m := range all {
		dir := s.Dir(&m)
		noted := readPacked(dir)
		if m.Isolation == isolation {
			base := layers.Base{ID: m.ID, Snapshot: m.Ref().String(), IDs: m.IDs}
			known := noted.Layers
			for _, l := range m.Layers { // a retired one lacks some
				if p, ok := known[l.Name]; ok {
					out.layers[p.Blob] = stockedLayer{base, l.Name}
				}
			}
		}
		found, _ := os.ReadDir(filepath.Join(dir, dataDir, blobsDir)) // none, or gone meanwhile
		for _, e := range found {
			d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
			checked := slices.Contains(noted.Checked, d)
			if d.Validate() == nil && (checked || !out.blobs[d].checked) {
				out.blobs[d] = stockedBlob{filepath.Join(dir, dataDir, blobsDir, e.Name()), checked}
			}
		}
	}
	return out, nil
}

// free is how many bytes the file system of the snapshots has left.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir(), &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: s.dir(), Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}
