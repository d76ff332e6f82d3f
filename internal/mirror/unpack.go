package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CheckArchive reads all of an exported archive, verifies its blobs and returns its images.
func CheckArchive(ctx context.Context, r io.Reader) ([]Carried, error) {
	c := count{}
	index, err := readLayout(ctx, r, func(d digest.Digest, size int64, r io.Reader) error {
		c.bytes += size
		c.blobs++
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r) // what follows the archive's end
	return c.images(index), err
}

// count is what an archive holds in all.
type count struct {
	blobs int
	bytes int64
}

// images are those of an index. What is in an archive of one image is that image's.
func (c count) images(index ocispec.Index) []Carried {
	var out []Carried
	for _, m := range index.Manifests {
		i := Carried{Image: m.Annotations[annotationName], Digest: m.Digest, Private: m.Annotations[annotationPrivate] == "true"}
		if len(index.Manifests) == 1 {
			i.Blobs, i.Bytes = c.blobs, c.bytes
		}
		out = append(out, i)
	}
	return out
}

// Unpack makes a directory of an exported archive: an OCI image layout, to which images are
// added if it is one already. Blobs are verified, appear by rename, and are not written again
// when they are there; the index comes last. So what was interrupted can be done again.
//
// Errors: the directory has something else in it, cannot be written, or the archive is damaged.
func Unpack(ctx context.Context, r io.Reader, dir string) ([]Carried, error) {
	old, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.WriteFile(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`), 0o644); err != nil {
		return nil, err
	}
	c := count{}
	index, err := readLayout(ctx, r, func(d digest.Digest, size int64, r io.Reader) error {
		c.bytes += size
		c.blobs++
		return place(root, blobPath(d), size, r)
	})
	if err != nil {
		return nil, err
	}
	images := c.images(index)
	for _, m := range old.Manifests {
		same := func(n ocispec.Descriptor) bool { return n.Annotations[annotationName] == m.Annotations[annotationName] }
		if !slices.ContainsFunc(index.Manifests, same) {
			index.Manifests = append(index.Manifests, m)
		}
	}
	b, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	return images, replaceIn(root, ocispec.ImageIndexFile, b)
}

// readDir is the index of the layout in a directory; a missing or empty directory has none.
func readDir(dir string) (index ocispec.Index, err error) {
	b, err := os.ReadFile(path.Join(dir, ocispec.ImageIndexFile))
	if err == nil {
		if err := json.Unmarshal(b, &index); err != nil {
			return index, fmt.Errorf("%s: its index.json: %w", dir, err)
		}
		return index, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (len(entries) == 0 || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ocispec.ImageLayoutFile })) {
		return index, nil
	}
	if err == nil {
		err = fmt.Errorf("%s has something else than an OCI image layout in it; give an empty directory", dir)
	}
	return index, err
}

// place writes a blob that is not there.
func place(root *os.Root, name string, size int64, r io.Reader) error {
	if info, err := root.Stat(name); err == nil && info.Size() == size {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".partial"
	f, err := root.Create(tmp)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}

func replaceIn(root *os.Root, name string, data []byte) error {
	tmp := name + ".partial"
	if err := root.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}
