package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// format is the version of what a snapshot consists of on disk. Another one is refused.
const format = 1

// Isolation of the engine that a snapshot was made of, which decides by what names
// overlayfs knows its marks: user.overlay.* in a user namespace, else trusted.overlay.*
// (Linux, Documentation/filesystems/overlayfs.rst).
const (
	IsolationUserNS  = "userns"
	IsolationRootful = "rootful"
)

// Manifest says what is in a snapshot.
type Manifest struct {
	Format    int       `json:"format"`
	ID        string    `json:"id"` // 32 random hexadecimal digits
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Created   time.Time `json:"created"`
	Sources   []string  `json:"sources"` // what it was made of: "pull alpine:3.22"
	Isolation string    `json:"isolation"`
	IDs       ids.Range `json:"ids"`     // owners on disk of data and layers
	Payload   string    `json:"payload"` // digest of what its engine ran
	Engine    string    `json:"engine"`  // version of that dockerd
	Images    []Image   `json:"images"`
	Volumes   []string  `json:"volumes,omitempty"`
	// Containers are the names of those that travel; they are stopped.
	Containers []string `json:"containers,omitempty"`
	// Layers are those that this snapshot brought; Bases are the snapshots that the others
	// belong to. Removing one of them would break this one.
	Layers []Layer       `json:"layers"`
	Bases  []layers.Base `json:"bases,omitempty"`
	Size   Size          `json:"size"`
	// Metadata is a digest over everything but blobs and layers.
	Metadata string `json:"metadata"`
	// Retired says that only the layers are left, because other snapshots need them.
	Retired bool `json:"retired,omitempty"`
}

// Image is an image in a snapshot.
type Image struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // bytes, compressed, as in a registry
}

// Layer is a directory of the overlayfs snapshotter.
type Layer struct {
	Name string `json:"name"`
	// Tree is a digest over names, kinds, modes, owners, sizes, times, link targets and
	// extended attributes of all that is in it.
	Tree string `json:"tree"`
}

// Size is what a snapshot takes on disk, in bytes.
type Size struct {
	Layers   int64 `json:"layers"` // its own
	Blobs    int64 `json:"blobs"`
	Metadata int64 `json:"metadata"` // what each fork copies
}

// MarshalJSON has no list that is null.
func (m Manifest) MarshalJSON() ([]byte, error) {
	type plain Manifest
	if m.Sources == nil {
		m.Sources = []string{}
	}
	if m.Images == nil {
		m.Images = []Image{}
	}
	if m.Layers == nil {
		m.Layers = []Layer{}
	}
	return json.Marshal(plain(m))
}

// Ref is the snapshot's name and version.
func (m *Manifest) Ref() Ref { return Ref{m.Name, m.Version} }

func readManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, dir)
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: read %s: %w; remove it with `berth snapshot rm`", ErrDamaged, path, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w: %s has format %d and this berth knows %d; make it anew", ErrUnfit, dir, m.Format, format)
	}
	return m, nil
}

func (m *Manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, manifestFile), string(b)+"\n")
}
