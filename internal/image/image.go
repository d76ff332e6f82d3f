// Package image makes berth's container image, the drop-in for docker:dind, as an archive
// that `docker load`, `podman load`, `ctr image import` and `skopeo copy` take. It needs no
// Docker, no network and no privileges, and the same berth makes the same bytes.
//
// The image is made from nothing: the payload's tree is its /usr, with the berth program
// (one without a payload inside) beside it and certificate authorities at the places where
// programs look for them. [payload.InstalledDir] makes it known to that berth as its
// payload, so that nothing has to be extracted when a container starts.
//
// Sizes are bytes. The package must not know what an engine is, nor run any program.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/berth-dev/berth/internal/payload"
)

// DefaultName is what the image is called in the archive.
const DefaultName = "berth:latest"

// ErrNoProgram says that this berth lacks the program that goes into the image.
var ErrNoProgram = errors.New("this berth was built without the image's program; build it with `make build`")

// Options say what to build.
type Options struct {
	Tree     *payload.Tree // on disk
	Manifest []byte        // the payload's manifest, as its digest was taken of
	Platform string        // of the payload, GOOS/GOARCH
	Name     string        // repository:tag; empty for DefaultName
	Version  string        // of berth, for the labels
	Revision string        // commit
	Created  time.Time     // for the image and all files; the zero value is 1970-01-01
	// Progress, which may be nil, is told how many bytes of how many have been compressed.
	Progress func(done, total int64)
}

// Build writes the archive to w. When ctx ends, it stops.
//
// The archive is an OCI image layout (image-spec, image-layout.md) that has the manifest.json
// of `docker save` as well, for engines that know only that (Docker before 25). The layers
// are compressed with gzip, which all of them take.
func Build(ctx context.Context, w io.Writer, o Options) error {
	program, err := program()
	if err != nil {
		return err
	}
	return build(ctx, w, o, program)
}

func build(ctx context.Context, w io.Writer, o Options, program []byte) error {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Created.IsZero() {
		o.Created = time.Unix(0, 0)
	}
	o.Created = o.Created.UTC().Truncate(time.Second)
	layers, err := buildLayers(ctx, o, program)
	if err != nil {
		return fmt.Errorf("make the image's layers: %w", err)
	}
	defer layers.remove()
	img, err := assemble(o, layers)
	if err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	return writeArchive(ctx, w, o, img)
}

// program is the berth for the image.
func program() ([]byte, error) {
	f, err := embedded.Open("files/berth.gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoProgram
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("the image's program is damaged: %w", err)
	}
	return io.ReadAll(z)
}
