package mirror

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-dev/berth/internal/tarfile"
)

// Annotations of the images in a layout's index.json. The first is containerd's, which
// docker and others read too; the OCI one (ref.name) holds the tag alone.
const (
	annotationName    = "io.containerd.image.name"
	annotationPrivate = "dev.berth.mirror.private"
)

// Carried is an image that went into an OCI image layout, or came from one.
type Carried struct {
	Image   string        `json:"image"`
	Digest  digest.Digest `json:"digest"`
	Blobs   int           `json:"blobs"` // manifests included
	Bytes   int64         `json:"bytes"`
	Private bool          `json:"private,omitempty"` // its registry asks for credentials
}

// errNoLayout says that an archive is something else.
var errNoLayout = errors.New("not an OCI image layout: it has no index.json; `berth mirror export` and docker save (25 and later) make one")

// readLayout reads an OCI image layout from a tar archive. blob gets each blob; its reader
// fails at the end of content that has another digest than it should. What links lead to is
// left out.
func readLayout(ctx context.Context, r io.Reader, blob func(d digest.Digest, size int64, r io.Reader) error) (ocispec.Index, error) {
	var index ocispec.Index
	found := false
	for archive := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return index, err
		}
		h, err := archive.Next()
		switch {
		case err == io.EOF && !found:
			return index, errNoLayout
		case err == io.EOF:
			return index, nil
		case err != nil:
			return index, fmt.Errorf("read the archive: %w", err)
		case h.Typeflag != tar.TypeReg:
			continue
		}
		name := path.Clean(h.Name)
		if tarfile.Sparse(h) {
			return index, fmt.Errorf("read the archive: %.100q is a sparse file, which could be of any size; make the archive without", name)
		}
		if name == ocispec.ImageIndexFile {
			if err := json.NewDecoder(io.LimitReader(archive, maxManifest)).Decode(&index); err != nil {
				return index, fmt.Errorf("read the archive's index.json: %w", err)
			}
			found = true
			continue
		}
		encoded, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
		if !ok {
			continue
		}
		d, ok := digestOf(strings.Replace(encoded, "/", "-", 1))
		if !ok {
			return index, fmt.Errorf("read the archive: %.100q is no blob's name", name)
		}
		if err := blob(d, h.Size, &verified{archive, d, d.Verifier()}); err != nil {
			return index, fmt.Errorf("%s: %w", d, err)
		}
	}
}

// verified is content whose end is an error when it is not what it should be.
type verified struct {
	r      io.Reader
	digest digest.Digest
	sum    digest.Verifier
}

func (v *verified) Read(b []byte) (int, error) {
	n, err := v.r.Read(b)
	_, _ = v.sum.Write(b[:n])
	if err == io.EOF && !v.sum.Verified() {
		return n, errors.New("the archive has other content by this digest; it was damaged on its way")
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the archive: %w", err)
	}
	return n, err
}

// references are what a manifest or an index refers to (the OCI image specification; Docker's
// are alike).
type references struct {
	Manifests []ocispec.Descriptor `json:"manifests"`
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Blobs     []ocispec.Descriptor `json:"blobs"` // of artifact manifests, which were in no release
}

// content are those that are no manifests.
func (r references) content() []ocispec.Descriptor {
	out := append(r.Layers, r.Blobs...)
	if r.Config != nil {
		out = append(out, *r.Config)
	}
	return out
}

// elsewhere tells whether a blob need not be in a registry: others distribute it.
func elsewhere(d ocispec.Descriptor) bool { return len(d.URLs) > 0 }

// imageName is an image's full name.
func imageName(t target) string {
	if t.tag != "" {
		return t.registry + "/" + t.repo + ":" + t.tag
	}
	return t.registry + "/" + t.repo + "@" + t.digest.String()
}
