package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// takeStock links blobs that snapshots here have, so that they stay if those go meanwhile, and
// forgets those that are not what they are called. An engine can call anything by a digest, and
// its snapshot is as good as that engine: no other is to be made of it.
func (i *importer) takeStock(ctx context.Context) error {
	for _, b := range i.in.Config.Blobs {
		have, ok := i.here.blobs[b.Digest]
		if !ok {
			continue
		}
		err := i.take(ctx, have, b)
		switch {
		case errors.Is(err, artifact.ErrDamaged):
			i.store.log.Warn("a blob is not what it is called", "file", have.path)
			delete(i.here.blobs, b.Digest)
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			delete(i.here.blobs, b.Digest)
		case err != nil:
			return fmt.Errorf("take blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

func (i *importer) take(ctx context.Context, have stockedBlob, b artifact.Blob) error {
	from, err := os.Open(have.path)
	if err != nil {
		return err
	}
	defer from.Close()
	to := fetched(b.Digest)
	err = os.Link(have.path, filepath.Join(i.dir, to))
	switch {
	case errors.Is(err, unix.EMLINK):
		err = i.copyBlob(ctx, b, to, from)
	case err == nil && !have.checked:
		err = verifyFile(ctx, from, b.Digest.Encoded())
	}
	if errors.Is(err, artifact.ErrDamaged) {
		err = errors.Join(err, i.root.Remove(to))
	}
	return err
}

// placeBlobs fills the content store.
func (i *importer) placeBlobs(ctx context.Context) error {
	if len(i.in.Config.Blobs) == 0 {
		return nil
	}
	dir, err := i.root.OpenFile(filepath.Join(dataDir, blobsDir), unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%w: it has blobs and no place for them: %w", artifact.ErrNotSnapshot, err)
	}
	defer dir.Close()
	for _, b := range i.in.Config.Blobs {
		if err := i.placeBlob(ctx, dir, b); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

func (i *importer) placeBlob(ctx context.Context, dir *os.File, b artifact.Blob) error {
	name := b.Digest.Encoded()
	if i.in.Remote || i.here.blobs[b.Digest].path != "" {
		err := unix.Renameat(unix.AT_FDCWD, filepath.Join(i.dir, fetched(b.Digest)), int(dir.Fd()), name)
		return os.NewSyscallError("renameat", err)
	}
	r, _, err := i.open(ctx, b.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	return i.copyBlob(ctx, b, filepath.Join(dataDir, blobsDir, name), r)
}

// copyBlob writes a blob to a file in the draft.
func (i *importer) copyBlob(ctx context.Context, b artifact.Blob, to string, from io.Reader) error {
	f, err := i.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer f.Close()
	v := artifact.Verify(ctx, from, i.in.Part(b.Digest))
	if _, err := io.Copy(f, v); err != nil {
		return err
	}
	return v.Close()
}
