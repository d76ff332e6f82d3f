package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/opencontainers/go-digest"
)

const (
	chunk = 128 << 10 // bytes that are moved at a time
	// attempts is how often a download is begun again, without having got a byte further.
	attempts = 4
	// stall is how long a registry may send nothing in the middle of a blob.
	stall = 30 * time.Second
	// linger is how long a download that nobody waits for goes on: clients that lose their
	// connection come back.
	linger = 5 * time.Second
)

// download is one blob on its way from its registry to disk, and to any number of clients.
//
// Clients read the partial file behind the writer. The last byte is kept from them until
// the digest is verified: nobody ever has the whole of what is not what it should be.
type download struct {
	m      *Mirror
	u      *upstream
	t      target
	cred   credential
	cancel context.CancelFunc

	mu      sync.Mutex
	moved   sync.Cond
	file    *os.File
	size    int64 // -1: not known yet
	written int64
	done    bool // verified and complete
	err     error
	readers int
	leaving *time.Timer
	closed  bool // nothing is written any more
}

// join returns the download of a blob, begun if there is none. The caller calls leave.
func (m *Mirror) join(u *upstream, t target, cred credential) (d *download, joined bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := t.digest.String()
	d = m.downloads[key]
	if d == nil || !d.enter() {
		ctx, cancel := context.WithCancel(context.Background())
		d = &download{m: m, u: u, t: t, cred: cred, cancel: cancel, size: -1, readers: 1}
		d.moved.L = &d.mu
		m.downloads[key] = d
		m.wg.Go(func() { d.run(ctx) })
		return d, false
	}
	return d, true
}

// enter counts a client in, unless the download has failed.
func (d *download) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return false
	}
	d.readers++
	if d.leaving != nil {
		d.leaving.Stop()
		d.leaving = nil
	}
	return true
}

// leave counts a client out. What nobody waits for ends after a while; what there is of it
// is kept for another time.
func (d *download) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readers--
	if d.readers > 0 {
		return
	}
	if d.closed {
		d.file.Close()
	} else if !d.m.conf.Finish && !d.done && d.err == nil {
		d.leaving = time.AfterFunc(linger, d.cancel)
	}
}

func (d *download) run(ctx context.Context) {
	defer d.cancel()
	err := d.fetch(ctx)
	if err != nil && ctx.Err() != nil {
		err = &statusError{status: 503, code: "UNKNOWN", message: "the download was given up", err: ctx.Err()}
	}
	if err == nil {
		err = d.keep()
	}
	d.m.mu.Lock()
	if d.m.downloads[d.t.digest.String()] == d {
		delete(d.m.downloads, d.t.digest.String())
	}
	d.m.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && err != nil && !d.done {
		d.err = err
	}
	d.closed = true
	if d.readers == 0 && d.file != nil {
		d.file.Close()
	}
	d.moved.Broadcast()
}

// keep makes the blob a complete one. Those who read it have it already.
func (d *download) keep() error {
	if err := d.m.store.complete(d.t.digest, d.file, d.size); err != nil {
		d.m.log.Warn("cannot keep a blob", "digest", d.t.digest.String(), "error", err)
		d.m.store.dropPartial(d.t.digest)
		return err
	}
	if err := d.m.store.setLink(d.t, d.t.digest, Link{Size: d.size}); err != nil {
		d.m.log.Warn("cannot record a blob", "digest", d.t.digest.String(), "error", err)
	}
	return nil
}

// fetch gets the blob into the partial file, going on where an earlier download ended.
func (d *download) fetch(ctx context.Context) error {
	file, err := d.m.store.partial(d.t.digest)
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
		d.m.store.dropPartial(d.t.digest)
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
	watched := &watchdog{r: resp.Body, timer: time.AfterFunc(stall, cancel)}
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
		d.m.store.dropPartial(d.t.digest)
		return 0, &statusError{status: 502, code: "SIZE_INVALID", message: "what was fetched before is longer than the blob; ask again"}
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

// contentRange reads "bytes 5-9/10" (RFC 9110, 14.4); total is -1 for "*".
func contentRange(s string) (start, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, all, both := strings.Cut(s, "/")
	first, _, dash := strings.Cut(span, "-")
	if !ok || !both || !dash {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil || start < 0 {
		return 0, 0, false
	}
	if all == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(all, 10, 64)
	return start, total, err == nil && total > start
}

// writerAt writes a file from a place on.
type writerAt struct {
	f  *os.File
	at int64
}

func (w *writerAt) Write(b []byte) (int, error) {
	n, err := w.f.WriteAt(b, w.at)
	w.at += int64(n)
	return n, err
}

// watchdog ends what reads nothing for too long.
type watchdog struct {
	r     io.Reader
	timer *time.Timer
}

func (w *watchdog) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.timer.Reset(stall)
	}
	return n, err
}

// diskError is the answer when the mirror cannot write: clients go to the registry itself.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &statusError{status: http.StatusInsufficientStorage, code: "UNKNOWN", message: "the mirror's disk is full; give it another with --dir, or bound it with --max-size"}
	}
	return &statusError{status: 500, code: "UNKNOWN", message: "the mirror cannot store", err: err}
}
