package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/berth-dev/berth/internal/linux"
)

// Store keeps content on disk by its digest, and what is known of each repository.
//
//	lock                                          held by the process that has the store open
//	blobs/<algorithm>/<hex>                       complete and verified; its access time is its last use
//	partial/<algorithm>-<hex>-<registry's hash>   being fetched from a registry, or to be resumed
//	repos/<registry>/<repository>/_tags/<tag>             what a tag was, JSON
//	                             /_referrers/<alg>-<hex>  likewise, of a referrers index
//	                             /_links/<alg>-<hex>      the repository has this content, JSON
//	                             /_open                   its registry asked nobody for credentials
//
// No part of a repository's name begins with an underscore. Everything appears by rename,
// so that a crash at any time leaves nothing half-made but partial files.
type Store struct {
	dir    string
	root   *os.Root
	lock   *os.File
	max    int64 // bytes; 0: no bound
	verify Verify
	log    *slog.Logger

	mu       sync.Mutex
	size     int64 // bytes of complete blobs
	evicted  int64 // bytes
	using    map[digest.Digest]int
	verified map[digest.Digest]mark
	touched  map[digest.Digest]time.Time
	evicting bool

	checks singleflight.Group // verifications, by digest
}

// mark recognises a file that has been changed since it was verified.
type mark struct {
	size    int64
	changed time.Time
}

// Tag is what a tag was when its registry was last asked.
type Tag struct {
	Digest  digest.Digest `json:"digest"`
	ETag    string        `json:"etag,omitempty"`
	Checked time.Time     `json:"checked"`
}

// Link says that a repository has a blob or manifest.
type Link struct {
	MediaType string `json:"media_type,omitempty"` // of a manifest
	Size      int64  `json:"size"`
}

// OpenStore opens the content in dir, and makes the directory when it is missing. It
// returns [ErrInUse] when another process has it open.
func OpenStore(dir string, maxSize int64, verify Verify, log *slog.Logger) (*Store, error) {
	for _, d := range []string{"blobs/sha256", "blobs/sha512", "partial", "repos"} {
		if err := os.MkdirAll(path.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make the mirror's directory: %w", err)
		}
	}
	lock, err := linux.TryLock(path.Join(dir, "lock"))
	if errors.Is(err, linux.ErrLocked) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s := &Store{
		dir: dir, root: root, lock: lock, max: maxSize, verify: verify, log: log,
		using: map[digest.Digest]int{}, verified: map[digest.Digest]mark{}, touched: map[digest.Digest]time.Time{},
	}
	blobs, err := s.blobs()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, b := range blobs {
		s.size += b.Size
	}
	return s, s.dropUnfinished()
}

// dropUnfinished removes the files that a killed process was about to rename.
func (s *Store) dropUnfinished() error {
	names, err := fs.Glob(s.root.FS(), temporaryPrefix+"*")
	for _, name := range names {
		err = errors.Join(err, s.root.Remove(name))
	}
	return err
}

// Close lets go of the directory.
func (s *Store) Close() error { return errors.Join(s.root.Close(), s.lock.Close()) }

// Size is the number of bytes of complete content.
func (s *Store) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Evicted is how many bytes were removed to make room since the store was opened.
func (s *Store) Evicted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evicted
}

func blobPath(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

// partialPath is a registry's own: what one sent, and nobody has verified yet, is never gone
// on with by what another has.
func partialPath(registry string, d digest.Digest) string {
	sum := sha256.Sum256([]byte(registry))
	return "partial/" + fileName(d) + "-" + hex.EncodeToString(sum[:8])
}

func fileName(d digest.Digest) string       { return d.Algorithm().String() + "-" + d.Encoded() }
func repoPath(registry, repo string) string { return "repos/" + registry + "/" + repo }
func tagPath(t target) string {
	if t.kind == kindReferrers {
		return repoPath(t.registry, t.repo) + "/_referrers/" + fileName(t.digest)
	}
	return repoPath(t.registry, t.repo) + "/_tags/" + t.tag
}

func linkPath(registry, repo string, d digest.Digest) string {
	return repoPath(registry, repo) + "/_links/" + fileName(d)
}
func openPath(registry, repo string) string { return repoPath(registry, repo) + "/_open" }

// digestOf reads a file name made by fileName.
func digestOf(name string) (digest.Digest, bool) {
	d := digest.Digest(strings.Replace(name, "-", ":", 1))
	return d, d.Validate() == nil
}

// record reads JSON; false when it is not there, or is no good.
func (s *Store) record(name string, v any) bool {
	b, err := s.root.ReadFile(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot read what the mirror knows", "file", name, "error", err)
		}
		return false
	}
	return json.Unmarshal(b, v) == nil
}

func (s *Store) setRecord(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	return s.replace(name, b)
}

// replace writes a file in full or not at all.
func (s *Store) replace(name string, data []byte) error {
	f, tmp, err := s.temporary()
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.root.Rename(tmp, name)
	}
	if err != nil {
		_ = s.root.Remove(tmp)
	}
	return err
}

// Tag returns what is known of a tag.
func (s *Store) tag(t target) (Tag, bool) {
	var tag Tag
	ok := s.record(tagPath(t), &tag) && tag.Digest.Validate() == nil
	return tag, ok
}

func (s *Store) setTag(t target, tag Tag) error { return s.setRecord(tagPath(t), tag) }

func (s *Store) dropTag(t target) { _ = s.root.Remove(tagPath(t)) }

func (s *Store) link(t target) (Link, bool) {
	var l Link
	ok := s.record(linkPath(t.registry, t.repo, t.digest), &l)
	return l, ok
}

func (s *Store) setLink(t target, d digest.Digest, l Link) error {
	return s.setRecord(linkPath(t.registry, t.repo, d), l)
}

// isOpen reports whether a repository's registry gave its content to a client without credentials.
func (s *Store) isOpen(registry, repo string) bool {
	_, err := s.root.Stat(openPath(registry, repo))
	return err == nil
}

func (s *Store) setOpen(registry, repo string, open bool) error {
	if !open {
		if err := s.root.Remove(openPath(registry, repo)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return s.setRecord(openPath(registry, repo), struct{}{})
}
