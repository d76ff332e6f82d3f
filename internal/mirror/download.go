package mirror

import (
	"context"
	"os"
	"sync"
	"time"
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

// downloadKey is what a download is shared by: a registry as well, for one that lies, or is
// slow on purpose, is not to be waited for by who asked another.
func downloadKey(t target) string { return t.registry + " " + t.digest.String() }

// join returns the download of a blob, begun if there is none. The caller calls leave.
func (m *Mirror) join(u *upstream, t target, cred credential) (d *download, joined bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := downloadKey(t)
	d = m.downloads[key]
	if d == nil || !d.enter() {
		ctx, cancel := context.WithCancel(m.ctx)
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
		d.leaving = time.AfterFunc(d.m.conf.Timeouts.Linger, d.cancel)
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
	if key := downloadKey(d.t); d.m.downloads[key] == d {
		delete(d.m.downloads, key)
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
	if err := d.m.store.complete(d.t, d.file, d.size); err != nil {
		d.m.log.Warn("cannot keep a blob", "digest", d.t.digest.String(), "error", err)
		d.m.store.dropPartial(d.t)
		return err
	}
	if err := d.m.store.setLink(d.t, d.t.digest, Link{Size: d.size}); err != nil {
		d.m.log.Warn("cannot record a blob", "digest", d.t.digest.String(), "error", err)
	}
	return nil
}
