package mirror

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// useResolution is how exactly the time of a blob's last use is kept.
const useResolution = time.Minute

// Blob is complete content, open for reading. It is not evicted until it is closed.
type Blob struct {
	*os.File
	Size   int64
	store  *Store
	digest digest.Digest
}

// Close lets go of the blob.
func (b *Blob) Close() error {
	b.store.release(b.digest)
	return b.File.Close()
}

// use keeps a blob from being evicted until release.
func (s *Store) use(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.using[d]++
}

func (s *Store) release(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.using[d]--; s.using[d] <= 0 {
		delete(s.using, d)
	}
}

// open returns a blob, verified as the policy says, or an error that is fs.ErrNotExist. What
// is found to be corrupt is removed, and so is not there.
func (s *Store) open(d digest.Digest) (*Blob, error) {
	s.use(d) // first, so that it is not evicted in between
	f, err := s.root.Open(blobPath(d))
	if err != nil {
		s.release(d)
		return nil, err
	}
	b := &Blob{File: f, store: s, digest: d}
	info, err := f.Stat()
	if err != nil {
		b.Close()
		return nil, err
	}
	b.Size = info.Size()
	if err := s.check(b, info); err != nil {
		b.Close()
		s.log.Warn("removed a corrupt blob, which is fetched again", "digest", d.String(), "error", err)
		s.remove(d, b.Size)
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	s.touch(d, info.ModTime())
	return b, nil
}

func (s *Store) check(b *Blob, info fs.FileInfo) error {
	if s.verify == VerifyNever {
		return nil
	}
	now := mark{info.Size(), info.ModTime()}
	s.mu.Lock()
	known := s.verified[b.digest] == now
	s.mu.Unlock()
	if known && s.verify != VerifyAlways {
		return nil
	}
	_, err, _ := s.checks.Do(b.digest.String(), func() (any, error) { // once for all who ask at a time
		v := b.digest.Verifier()
		if _, err := io.Copy(v, io.NewSectionReader(b.File, 0, info.Size())); err != nil {
			return nil, err
		}
		if !v.Verified() {
			return nil, errors.New("its content has another digest")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.verified[b.digest] = now
		return nil, nil
	})
	return err
}

// touch notes the use of a blob in its access time, which the mount may not keep by itself.
func (s *Store) touch(d digest.Digest, modified time.Time) {
	now := time.Now()
	s.mu.Lock()
	fresh := now.Sub(s.touched[d]) < useResolution
	if !fresh {
		s.touched[d] = now
	}
	s.mu.Unlock()
	if !fresh {
		_ = s.root.Chtimes(blobPath(d), now, modified)
	}
}

func (s *Store) has(d digest.Digest) bool {
	_, err := s.root.Stat(blobPath(d))
	return err == nil
}

// put stores content of which the caller knows that it has the digest.
func (s *Store) put(d digest.Digest, content []byte) error {
	if s.has(d) {
		return nil
	}
	f, tmp, err := s.temporary()
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.place(tmp, d, int64(len(content)))
	}
	if err != nil {
		_ = s.root.Remove(tmp)
	}
	return err
}

// partial opens what there is of a registry's blob, at most one caller at a time for each.
func (s *Store) partial(t target) (*os.File, error) {
	return s.root.OpenFile(partialPath(t.registry, t.digest), os.O_RDWR|os.O_CREATE, 0o600)
}

func (s *Store) dropPartial(t target) { _ = s.root.Remove(partialPath(t.registry, t.digest)) }

// complete makes a verified partial blob a complete one. The data is on the disk before the
// name is: a blob that a power cut has made empty would be served as complete.
func (s *Store) complete(t target, f *os.File, size int64) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return s.place(partialPath(t.registry, t.digest), t.digest, size)
}

// place makes a verified file a blob. There may be the same already, from elsewhere.
func (s *Store) place(file string, d digest.Digest, size int64) error {
	s.mu.Lock()
	there := s.has(d)
	if err := s.root.Rename(file, blobPath(d)); err != nil {
		s.mu.Unlock()
		return err
	}
	if !there {
		s.size += size
	}
	if info, err := s.root.Stat(blobPath(d)); err == nil {
		s.verified[d] = mark{info.Size(), info.ModTime()}
	}
	s.touched[d] = time.Now()
	s.mu.Unlock()
	s.makeRoom(0)
	return nil
}

func (s *Store) remove(d digest.Digest, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root.Remove(blobPath(d)) == nil {
		s.size -= size
	}
	delete(s.verified, d)
	delete(s.touched, d)
}

const temporaryPrefix = "partial/new-"

// temporary makes a file that the caller renames.
func (s *Store) temporary() (*os.File, string, error) {
	name := temporaryPrefix + rand.Text()
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return f, name, err
}

// full reports whether the disk has no room for so many bytes more.
func (s *Store) full(size int64) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return false
	}
	return int64(st.Bavail)*st.Bsize < size
}
