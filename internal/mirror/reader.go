package mirror

import (
	"context"
	"errors"
	"io"
)

// reader reads a blob while it is being fetched; it waits for what is not there yet.
type reader struct {
	ctx context.Context
	d   *download
	at  int64
}

// await returns the size of the blob as soon as its registry has said it and sent something.
// For a small blob, and when its registry says no size, that is when it is complete: what
// goes wrong until then can be answered with an error.
func (d *download) await(ctx context.Context) (int64, error) {
	defer context.AfterFunc(ctx, d.wake)()
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.done && (d.size <= chunk || d.written == 0) {
		if err := d.state(ctx); err != nil {
			return 0, err
		}
		d.moved.Wait()
	}
	return d.size, nil
}

func (d *download) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved.Broadcast()
}

// state is why there is nothing to wait for. The caller holds mu.
func (d *download) state(ctx context.Context) error {
	if d.err != nil {
		return d.err
	}
	return ctx.Err()
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.available(int64(len(b)))
	if err != nil {
		return 0, err
	}
	got, err := r.d.file.ReadAt(b[:n], r.at)
	r.at += int64(got)
	if err == io.EOF && got > 0 {
		err = nil
	}
	return got, err
}

// available waits until there is something to read, and returns how much there is.
func (r *reader) available(most int64) (int64, error) {
	defer context.AfterFunc(r.ctx, r.d.wake)()
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	for {
		if err := r.d.state(r.ctx); err != nil {
			return 0, err
		}
		there := r.d.written
		if !r.d.done && there >= r.d.size {
			there = r.d.size - 1 // until the digest is verified
		}
		if n := there - r.at; n > 0 {
			return min(n, most), nil
		}
		if r.at >= r.d.size {
			return 0, io.EOF
		}
		r.d.moved.Wait()
	}
}

// Seek moves within the blob, whether or not that part is there yet.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.d.known()
	}
	if offset < 0 {
		return 0, errors.New("seek before the begin")
	}
	r.at = offset
	return offset, nil
}
