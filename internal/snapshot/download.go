package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// Downloads are kept until the snapshot they are for exists, so that a pull that was cut off
// goes on where it was. Those that nobody came back for are collected after a day.
const (
	downloadsLife = 24 * time.Hour
	downloadTries = 6
)

// Downloads is where blobs wait for the snapshot that they are for.
func (s *Store) Downloads() string { return filepath.Join(s.dir(), downloadsDir) }

// download is where a blob is until then. What somebody else calls by the same digest but of
// another size is another file.
func (s *Store) download(d v1.Descriptor) string {
	return filepath.Join(s.Downloads(), fmt.Sprintf("%s-%d", d.Digest.Encoded(), d.Size))
}

// meter tells how far a transfer is, in bytes.
type meter struct {
	done, total atomic.Int64
	tell        func(done, total int64)
}

func (m *meter) add(n int64) {
	if done := m.done.Add(n); m.tell != nil {
		m.tell(done, m.total.Load())
	}
}

// progress is how far one blob is.
type progress struct {
	*meter
	at int64
}

func (p *progress) reach(at int64) {
	p.add(at - p.at)
	p.at = at
}

// fetchAll downloads blobs, several at once, and gives each a second name in the directory to:
// its digest, in hexadecimal. The first may go as soon as somebody else has no more need of
// it. What is there already, whole or in part, is not moved again.
func (s *Store) fetchAll(ctx context.Context, in *artifact.Incoming, blobs []v1.Descriptor, to string, tell func(done, total int64)) error {
	m := &meter{tell: tell}
	for _, d := range blobs {
		m.total.Add(d.Size)
	}
	g, ctx := inParallel(ctx)
	for _, d := range blobs {
		g.Go(func() error {
			if err := s.fetch(ctx, in, d, filepath.Join(to, d.Digest.Encoded()), m); err != nil {
				return fmt.Errorf("fetch blob %s: %w", d.Digest, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// fetch downloads one blob. The lock on its file makes two pulls take turns, and keeps the
// file from being removed before it has its other name.
func (s *Store) fetch(ctx context.Context, in *artifact.Incoming, d v1.Descriptor, to string, m *meter) error {
	p := &progress{meter: m}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		f, err := linux.Lock(ctx, s.download(d))
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		defer f.Close()
		err = fetchRest(ctx, in, d, f, p)
		if err != nil && !artifact.Passing(err) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = backoff.Permanent(err)
		}
		if err == nil {
			if err = os.Link(f.Name(), to); err != nil {
				err = backoff.Permanent(err)
			}
		}
		return struct{}{}, err
	}, backoff.WithMaxTries(downloadTries))
	return err
}

// fetchRest gets what the file does not have yet, and compares the whole with its digest. A
// file that is not what it should be goes: it is not written to, as it may have other names.
func fetchRest(ctx context.Context, in *artifact.Incoming, d v1.Descriptor, f *os.File, p *progress) error {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	p.reach(min(at, d.Size))
	if at < d.Size {
		r, err := in.Open(ctx, d, at)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := appendTo(f, io.LimitReader(r, d.Size-at), p); err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err = artifact.Verify(ctx, f, d).Close()
	if err == nil && at > d.Size {
		err = fmt.Errorf("%w: %s goes on after its end", artifact.ErrDamaged, f.Name())
	}
	if errors.Is(err, artifact.ErrDamaged) {
		if p.at < d.Size {
			return io.ErrUnexpectedEOF // the connection broke; the rest comes next
		}
		return errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func appendTo(f *os.File, r io.Reader, p *progress) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		p.reach(p.at + int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// forget removes downloads that have served.
func (s *Store) forget(blobs []v1.Descriptor) {
	for _, d := range blobs {
		if err := removeDownload(s.download(d)); err != nil {
			s.log.Warn("remove download", "error", err)
		}
	}
}

// removeDownload leaves it to who is at it.
func removeDownload(path string) error {
	lock, err := linux.TryLock(path)
	if errors.Is(err, linux.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return os.Remove(path)
}

// tidyDownloads removes downloads that nobody came back for.
func (s *Store) tidyDownloads(now time.Time) error {
	found, err := os.ReadDir(s.Downloads())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range found {
		path := filepath.Join(s.Downloads(), e.Name())
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < downloadsLife {
			continue
		}
		errs = append(errs, removeDownload(path))
	}
	return errors.Join(errs...)
}

// Spool writes what comes once only to a file without a name, on the disk that snapshots
// are on, and returns that. It has a name for a moment, among the downloads: should berth be
// killed then, the file goes as those do.
func (s *Store) Spool(r io.Reader) (*os.File, error) {
	if err := os.MkdirAll(s.Downloads(), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.Downloads(), ".archive-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	return f, nil
}
