package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// saved is an entry of manifest.json, which `docker save` writes.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive is an image's archive in the making.
type archive struct {
	*layerWriter
	ctx context.Context
}

// CheckName says what is wrong with the name of an image, REPOSITORY[:TAG]; empty is [DefaultName].
func CheckName(image string) error {
	if image == "" {
		return nil
	}
	_, err := parseName(image)
	return err
}

func parseName(image string) (name.Tag, error) {
	tag, err := name.NewTag(image)
	if err != nil {
		return tag, fmt.Errorf("image name %q: %w", image, err)
	}
	return tag, nil
}

func writeArchive(ctx context.Context, w io.Writer, o Options, img *assembled) error {
	tag, err := parseName(o.Name)
	if err != nil {
		return err
	}
	a := &archive{&layerWriter{tar: tar.NewWriter(w), created: o.Created, count: func(int) {}}, ctx}
	if err := a.fill(tag, o, img); err != nil {
		return fmt.Errorf("write the image's archive: %w", err)
	}
	return a.tar.Close()
}

func (a *archive) fill(tag name.Tag, o Options, img *assembled) error {
	for _, d := range []string{"blobs", "blobs/sha256"} {
		if err := a.write(dir(d, 0o755), nil); err != nil {
			return err
		}
	}
	digest, _, err := v1.SHA256(bytes.NewReader(img.manifest))
	if err != nil {
		return err
	}
	configDigest, _, err := v1.SHA256(bytes.NewReader(img.config))
	if err != nil {
		return err
	}
	entry := saved{Config: blob(configDigest), RepoTags: []string{familiar(tag)}}
	if err := a.file(blob(digest), img.manifest); err != nil {
		return err
	}
	if err := a.file(blob(configDigest), img.config); err != nil {
		return err
	}
	for _, layer := range img.layers {
		file, err := a.layer(layer)
		if err != nil {
			return err
		}
		entry.Layers = append(entry.Layers, file)
	}
	if err := a.json("manifest.json", []saved{entry}); err != nil {
		return err
	}
	if err := a.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	platformOS, arch, _ := strings.Cut(o.Platform, "/")
	return a.json("index.json", v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Digest: digest, Size: int64(len(img.manifest)),
			Platform: &v1.Platform{OS: platformOS, Architecture: arch},
			// What containerd and Docker 29 name an imported image after.
			Annotations: map[string]string{"io.containerd.image.name": canonical(tag), "org.opencontainers.image.ref.name": tag.TagStr()},
		}},
	})
}

// familiar is the name as docker shows it: without the parts that go without saying.
func familiar(tag name.Tag) string {
	repo := strings.TrimPrefix(tag.Repository.Name(), name.DefaultRegistry+"/")
	return strings.TrimPrefix(repo, "library/") + ":" + tag.TagStr()
}

// canonical is the name with all its parts, Docker Hub's host as containerd writes it.
func canonical(tag name.Tag) string {
	if rest, ok := strings.CutPrefix(tag.Name(), name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return tag.Name()
}

func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a *archive) layer(layer v1.Layer) (string, error) {
	digest, err := layer.Digest()
	if err != nil {
		return "", err
	}
	size, err := layer.Size()
	if err != nil {
		return "", err
	}
	content, err := layer.Compressed()
	if err != nil {
		return "", err
	}
	defer content.Close()
	if err := a.header(&tar.Header{Typeflag: tar.TypeReg, Name: blob(digest), Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	if _, err := io.Copy(a.tar, content); err != nil {
		return "", err
	}
	return blob(digest), a.ctx.Err()
}

func (a *archive) file(name string, data []byte) error {
	return a.write(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}, data)
}

func (a *archive) json(name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	return a.file(name, b.Bytes())
}
