package main

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/berth-dev/berth/test/image"
)

// manyImages is how many images a large snapshot has.
const manyImages = 20

// largeName is the i-th of them; each holds a file of its own, /ballast.
func largeName(i int) string { return fmt.Sprintf("berth.test/large-%d:1", i) }

// large makes images of size bytes in all, on the fly: what is in them is made again
// whenever it is read, and takes no memory and no disk.
func large(size int64) (map[name.Tag]v1.Image, error) {
	base, err := image.Build(image.Options{})
	if err != nil {
		return nil, err
	}
	out := map[name.Tag]v1.Image{}
	for i := range manyImages {
		l, err := partial.UncompressedToLayer(&ballast{seed: byte(i), size: size / manyImages})
		if err != nil {
			return nil, err
		}
		img, err := mutate.AppendLayers(base, asIs{l})
		if err != nil {
			return nil, err
		}
		tag, err := name.NewTag(largeName(i))
		if err != nil {
			return nil, err
		}
		out[tag] = img
	}
	return out, nil
}

// archive writes images for docker load.
func (b *bench) archive(file string, images map[name.Tag]v1.Image) (string, error) {
	path := filepath.Join(b.work, file)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return path, tarball.MultiWrite(images, f)
}

// ballast is a layer with one file of incompressible bytes.
type ballast struct {
	seed byte
	size int64
	sum  v1.Hash
}

func (l *ballast) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

func (l *ballast) DiffID() (_ v1.Hash, err error) {
	if l.sum.Hex == "" {
		r, _ := l.Uncompressed()
		defer r.Close()
		l.sum, _, err = v1.SHA256(r)
	}
	return l.sum, err
}

func (l *ballast) Uncompressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{Name: "ballast", Mode: 0o644, Size: l.size})
		if err == nil {
			_, err = io.CopyN(t, rand.NewChaCha8([32]byte{l.seed}), l.size)
		}
		if err == nil {
			err = t.Close()
		}
		w.CloseWithError(err)
	}()
	return r, nil
}

// asIs is a layer that nobody compresses.
type asIs struct{ v1.Layer }

func (l asIs) Digest() (v1.Hash, error)           { return l.DiffID() }
func (l asIs) Compressed() (io.ReadCloser, error) { return l.Uncompressed() }
func (l asIs) Size() (int64, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}
