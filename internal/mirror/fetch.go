package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/opencontainers/go-digest"
)

const (
	chunk = 128 << 10 // bytes that are moved at a time
	// attempts is how often a download is begun again, without having got a byte further.
	attempts = 4
)

// fetch gets the blob into the partial file, going on where an earlier download ended.
func (d *download) fetch(ctx context.Context) error {
	file, err := d.m.store.partial(d.t)
	if err != nil {
		return diskError(err)
	}
	d.mu.Lock()
	d.file = file
	d.mu.Unlock()
	v := d.t.digest.Algorithm().Hash()
	at, err := io.Copy(v, file)
	if err != nil {
		return diskError(err)
	}
	d.advance(at)
	wait := backoff.NewExponentialBackOff()
	for failed := 0; ; {
		n, err := d.attempt(ctx, at, io.MultiWriter(&writerAt{file, at}, v))
		at += n
		if err == nil {
			break
		}
		if n > 0 {
			failed = 0
			wait.Reset()
		}
		if failed++; failed == attempts || !again(err) || ctx.Err() != nil {
			return err
		}
		d.m.log.Info("download broken off, going on", "digest", d.t.digest.String(), "at", at, "error", err)
		if err := pause(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
	if got := digest.NewDigest(d.t.digest.Algorithm(), v); got != d.t.digest {
		d.m.store.dropPartial(d.t)
		return &statusError{status: 502, code: "DIGEST_INVALID", message: fmt.Sprintf("%s sent content with the digest %s for %s", d.u.registry, got, d.t.digest)}
	}
	d.mu.Lock()
	d.size, d.done = at, true
	d.mu.Unlock()
	d.moved.Broadcast()
	return nil
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again reports whether a failed attempt may be followed by another.
func again(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		return s.status == 502 && s.code == "UNKNOWN"
	}
	return true
}

// attempt gets what is missing from at on, and returns how much it got.
func (d *download) attempt(ctx context.Context, at int64, to io.Writer) (int64, error) {
	if size := d.known(); size >= 0 && at == size {
		return 0, nil
	}
	header := http.Header{}
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := d.u.do(ctx, http.MethodGet, d.t, "", header, d.cred)
	if status(err) == http.StatusRequestedRangeNotSatisfiable && err != nil {
		return 0, nil // everything is here; the digest will tell
	}
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	skip, err := d.begin(resp, at)
	if err != nil {
		return 0, err
	}
	watched := watch(resp.Body, d.m.conf.Timeouts.Stall, cancel)
	defer watched.timer.Stop()
	if _, err := io.CopyN(io.Discard, watched, skip); err != nil {
		return 0, err
	}
	return d.copy(ctx, to, watched, at)
}

// begin looks at the answer, learns the blob's size from it, and returns how many bytes of
// it are here already.
func (d *download) begin(resp *http.Response, at int64) (skip int64, err error) {
	size := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != at {
			return 0, fmt.Errorf("%s answered with another range than was asked for", d.u.registry)
		}
		size = total
	} else {
		skip = at
	}
	if known := d.known(); known >= 0 && size >= 0 && known != size {
		return 0, &statusError{status: 502, code: "SIZE_INVALID", message: fmt.Sprintf("%s says that %s has %d bytes, and said %d before", d.u.registry, d.t.digest, size, known)}
	}
	if size >= 0 && size < at {
		// What is here is longer than what there is: it cannot be the same.
		d.m.store.dropPartial(d.t)
		return 0, &statusError{status: 502, code: "SIZE_INVALID", message: "what was fetched before is longer than the blob; ask again"}
	}
	if d.m.store.exceeds(size) {
		return 0, d.tooLarge()
	}
	if size >= 0 {
		d.m.store.makeRoom(size)
		if d.m.store.full(size-at) && d.m.store.evict(size-at) < size-at && d.m.store.full(size-at) {
			return 0, diskError(syscall.ENOSPC)
		}
	}
	d.mu.Lock()
	if size >= 0 {
		d.size = size
	}
	d.mu.Unlock()
	d.moved.Broadcast()
	return skip, nil
}

func (d *download) copy(ctx context.Context, to io.Writer, from io.Reader, at int64) (n int64, err error) {
	buf := make([]byte, chunk)
	for {
		got, readErr := from.Read(buf)
		if size := d.known(); size >= 0 && at+n+int64(got) > size {
			return n, &statusError{status: 502, code: "SIZE_INVALID", message: d.u.registry + " sends more than it said"}
		}
		if d.m.store.exceeds(at + n + int64(got)) {
			d.m.store.dropPartial(d.t)
			return n, d.tooLarge()
		}
		if got > 0 {
			if _, err := to.Write(buf[:got]); err != nil {
				return n, diskError(err)
			}
			n += int64(got)
			d.m.stats.received.Add(float64(got))
			d.advance(at + n)
		}
		switch {
		case readErr == io.EOF:
			if size := d.known(); size >= 0 && at+n < size {
				return n, io.ErrUnexpectedEOF
			}
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// tooLarge is the answer for a blob that would take the place of everything else.
func (d *download) tooLarge() error {
	return &statusError{status: 502, code: "SIZE_INVALID", message: fmt.Sprintf("%s is larger than all that the mirror may keep (--max-size)", d.t.digest)}
}

func (d *download) known() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

func (d *download) advance(to int64) {
	d.mu.Lock()
	d.written = to
	d.mu.Unlock()
	d.moved.Broadcast()
}
