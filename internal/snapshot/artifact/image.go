package artifact

import (
	"fmt"
	"io"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

type progress = ggcr.Update

// asImage makes the artifact what the registry client can push: to a registry, an artifact
// is an image of other media types.
func asImage(a *Artifact) (ggcr.Image, error) { return partial.CompressedToImage(image{a}) }

type image struct{ a *Artifact }

func (i image) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (i image) RawManifest() ([]byte, error)        { return i.a.Manifest, nil }

func (i image) RawConfigFile() ([]byte, error) {
	r, err := i.a.Config.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (i image) LayerByDigest(h ggcr.Hash) (partial.CompressedLayer, error) {
	for _, p := range append([]Part{i.a.Config}, i.a.Parts...) {
		if p.Digest.String() == h.String() {
			return layer{p}, nil
		}
	}
	return nil, fmt.Errorf("blob %s is not in the snapshot", h)
}

type layer struct{ part Part }

func (l layer) Digest() (ggcr.Hash, error)          { return ggcr.NewHash(l.part.Digest.String()) }
func (l layer) Compressed() (io.ReadCloser, error)  { return l.part.Open() }
func (l layer) Size() (int64, error)                { return l.part.Size, nil }
func (l layer) MediaType() (types.MediaType, error) { return types.MediaType(l.part.MediaType), nil }
