package mirror

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
)

// knownManifest returns a manifest that is here, and that the repository is known to have.
func (s *Store) knownManifest(t target, d digest.Digest) (manifest, bool) {
	t.digest = d
	l, ok := s.link(t)
	if !ok || l.MediaType == "" {
		return manifest{}, false
	}
	content, err := s.readManifest(d)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot read a manifest", "digest", d.String(), "error", err)
		}
		return manifest{}, false
	}
	return manifest{content: content, mediaType: l.MediaType, digest: d}, true
}

// readManifest returns a blob of a manifest's size; fs.ErrNotExist says that it is not here.
func (s *Store) readManifest(d digest.Digest) ([]byte, error) {
	b, err := s.open(d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Size > maxManifest {
		return nil, fmt.Errorf("%s is larger than any manifest", d)
	}
	return io.ReadAll(b)
}

// stat returns the size of a blob that is here.
func (s *Store) stat(d digest.Digest) (int64, bool) {
	if d.Validate() != nil {
		return 0, false
	}
	info, err := s.root.Stat(blobPath(d))
	if err != nil {
		return 0, false
	}
	return info.Size(), true
}

// modified is when a blob's file was written.
func (s *Store) modified(d digest.Digest) time.Time {
	info, err := s.root.Stat(blobPath(d))
	if err != nil {
		return time.Now()
	}
	return info.ModTime()
}
