package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// checkStock forgets blobs here that are not what they are called. An engine can call anything
// by a digest, and its snapshot is as good as that engine: no other is to be made of it.
func (i *importer) checkStock(ctx context.Context) error {
	for _, b := range i.in.Config.Blobs {
		have, ok := i.here.blobs[b.Digest]
		if !ok || have.checked {
			continue
		}
		err := have.check(ctx, b.Digest)
		switch {
		case errors.Is(err, artifact.ErrDamaged):
			i.store.log.Warn("a blob is not what it is called", "file", have.path)
			delete(i.here.blobs, b.Digest)
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			delete(i.here.blobs, b.Digest)
		case err != nil:
			return fmt.Errorf("read blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

func (b stockedBlob) check(ctx context.Context, d digest.Digest) error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return verifyFile(ctx, f, d.Encoded())
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
	from := i.here.blobs[b.Digest].path
	if from == "" && i.in.Remote {
		from = filepath.Join(i.dir, fetched(b.Digest))
	}
	if from != "" {
		err := unix.Linkat(unix.AT_FDCWD, from, int(dir.Fd()), name, 0)
		if err == nil {
			return nil
		}
		if err != unix.EMLINK && !errors.Is(err, fs.ErrNotExist) {
			return os.NewSyscallError("linkat", err)
		}
	}
	return i.copyBlob(ctx, b, filepath.Join(dataDir, blobsDir, name), from)
}

// copyBlob writes a blob that cannot be linked.
func (i *importer) copyBlob(ctx context.Context, b artifact.Blob, to, from string) (err error) {
	var r io.ReadCloser
	if from != "" {
		r, err = os.Open(from)
	} else {
		r, _, err = i.open(ctx, b.Digest)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := i.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer f.Close()
	v := artifact.Verify(ctx, r, i.in.Part(b.Digest))
	if _, err := io.Copy(f, v); err != nil {
		return err
	}
	return v.Close()
}
