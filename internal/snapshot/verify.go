package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// Verify compares a snapshot, without its bases, with its manifest: blobs by their
// contents, everything else by what [tree.Digest] looks at. It returns *[DamagedError] with every
// difference, and ctx's error when that is cancelled.
func (s *Store) Verify(ctx context.Context, m *Manifest) error {
	root, err := os.OpenRoot(s.Dir(m))
	if err != nil {
		return err
	}
	defer root.Close()
	var problems []string
	differs := func(what string) { problems = append(problems, what) }
	for _, l := range m.Layers {
		sum, err := digestOf(ctx, root, filepath.Join(ownLayers, l.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			differs("layer " + l.Name + " is missing")
		case err != nil:
			return err
		case sum.Digest != l.Tree:
			differs("layer " + l.Name + " was changed")
		}
	}
	sum, err := digestOf(ctx, root, dataDir)
	if err != nil {
		return err
	}
	if sum.Digest != m.Metadata {
		differs("metadata was changed")
	}
	if err := verifyBlobs(ctx, root, differs); err != nil {
		return err
	}
	if _, err := s.Locate(ctx, m.Bases); errors.Is(err, ErrNotFound) {
		differs(err.Error())
	} else if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &DamagedError{m.Ref(), problems}
	}
	return nil
}

func verifyBlobs(ctx context.Context, root *os.Root, differs func(string)) error {
	found, err := entries(root, filepath.Join(dataDir, blobsDir))
	if err != nil {
		return err
	}
	for _, e := range found {
		err := verifyBlob(ctx, root, e.Name())
		if errors.Is(err, artifact.ErrDamaged) {
			differs("blob " + e.Name() + " was changed")
		} else if err != nil {
			return err
		}
	}
	return nil
}

func verifyBlob(ctx context.Context, root *os.Root, name string) error {
	f, err := root.Open(filepath.Join(dataDir, blobsDir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	return verifyFile(ctx, f, name)
}

// verifyFile returns [artifact.ErrDamaged] for a blob that is not what it is called.
func verifyFile(ctx context.Context, f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want := v1.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, name), Size: info.Size()}
	if want.Digest.Validate() != nil {
		return fmt.Errorf("%w: a blob is called %s", artifact.ErrDamaged, name)
	}
	return artifact.Verify(ctx, f, want).Close()
}
