// Package artifact is the form in which snapshots travel: an OCI artifact (OCI image-spec
// 1.1, "Guidance for an empty config, and artifacts"), in a registry or in an archive.
//
//	manifest   artifactType application/vnd.berth.snapshot.v1
//	  config   [Config]: what is in it
//	  layers   data   databases, volumes, build caches in use: a packed tree, zstd
//	           layer  one a layer of the snapshotter: a packed tree, zstd
//	           blob   one a blob of the content store, as it is
//
// What does not change from one version of a snapshot to the next is the same blob, for
// blobs are named by what is in them: it is stored and moved once.
//
// The package knows media types, archives and registries; not what is in packed trees, nor
// where snapshots are kept. Sizes are bytes. What it reads may come from anybody.
package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types.
const (
	Type       = "application/vnd.berth.snapshot.v1"
	TypeConfig = "application/vnd.berth.snapshot.config.v1+json"
	TypeData   = "application/vnd.berth.snapshot.data.v1.tar+zstd"
	TypeLayer  = "application/vnd.berth.snapshot.layer.v1.tar+zstd"
	TypeBlob   = "application/vnd.berth.snapshot.blob.v1"
)

// Bounds of what is read into memory, as registries have them for manifests.
const maxDocument = 8 << 20

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotSnapshot: it is an image, or something else.
	ErrNotSnapshot = errors.New("it is not a snapshot of berth")
	// ErrDamaged: what came is not what its digest says.
	ErrDamaged = errors.New("what came is damaged")
)

// format is the version of Config. Another one is refused.
const format = 1

// Config says what is in a snapshot.
type Config struct {
	Format    int       `json:"format"`
	Created   time.Time `json:"created"`
	Sources   []string  `json:"sources,omitempty"`
	Isolation string    `json:"isolation"` // of the engine that it was made of
	Payload   string    `json:"payload"`
	Engine    string    `json:"engine,omitempty"`
	// Containers says that there are containers in it, and their networks.
	Containers bool   `json:"containers,omitempty"`
	Data       Tree   `json:"data"`
	Layers     []Tree `json:"layers"`
	Blobs      []Blob `json:"blobs"`
}

// Tree is a packed tree.
type Tree struct {
	Name     string        `json:"name,omitempty"` // of a layer in the snapshotter
	Blob     digest.Digest `json:"blob"`           // compressed
	Unpacked int64         `json:"unpacked"`       // bytes of the tar archive
}

// Blob is a blob of the content store.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Part is a blob of an artifact and where its bytes are.
type Part struct {
	v1.Descriptor
	Open func() (io.ReadCloser, error) // nil: nowhere at hand
}

// Artifact is a snapshot on its way out.
type Artifact struct {
	Manifest   []byte
	Descriptor v1.Descriptor // of the manifest
	Config     Part
	Parts      []Part // each once
}

// New puts an artifact together. parts may name a blob more than once.
func New(c Config, parts []Part) (*Artifact, error) {
	c.Format = format
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	a := &Artifact{Config: document(TypeConfig, config)}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: Type, Config: a.Config.Descriptor,
		Annotations: map[string]string{v1.AnnotationCreated: c.Created.UTC().Format(time.RFC3339)},
	}
	seen := map[digest.Digest]bool{}
	for _, p := range parts {
		if !seen[p.Digest] {
			seen[p.Digest] = true
			a.Parts, m.Layers = append(a.Parts, p), append(m.Layers, p.Descriptor)
		}
	}
	if a.Manifest, err = json.Marshal(m); err != nil {
		return nil, err
	}
	if len(a.Manifest) > maxDocument {
		return nil, fmt.Errorf("its manifest has %d bytes, more than registries take; split the snapshot", len(a.Manifest))
	}
	a.Descriptor = document(v1.MediaTypeImageManifest, a.Manifest).Descriptor
	a.Descriptor.ArtifactType = Type
	return a, nil
}

func document(mediaType string, b []byte) Part {
	return Part{
		v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}
