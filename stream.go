package berth

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client/pkg/jsonmessage"
)

// messages are what dockerd says while it works.
type messages = iter.Seq2[jsonstream.Message, error]

// consume reads a stream to its end, for only then is the work done, and hands each
// message on. It returns the first error that the stream carries.
func consume(stream messages, each func(jsonstream.Message)) error {
	for m, err := range stream {
		if err != nil {
			return err
		}
		if err := streamError(m); err != nil {
			return err
		}
		each(m)
	}
	return nil
}

// retry calls f until it succeeds, fails for good, has been tried often enough, or ctx ends.
func retry(ctx context.Context, tries uint, say func(Progress), f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 300*time.Millisecond, 10*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err != nil && !worthARetry(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(tries), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, in time.Duration) {
			say(Progress{Status: fmt.Sprintf("%v; trying again in %s", err, in.Round(time.Millisecond))})
		}))
	return err
}

// watchdog cancels a context when nothing has changed for a while.
type watchdog struct {
	after time.Duration
	timer *time.Timer
	last  map[string]jsonstream.Message
}

// watch returns a context that is cancelled, with an error of its own, after a stall.
// A stall of 0 is never.
func watch(ctx context.Context, stall time.Duration) (context.Context, *watchdog, func()) {
	w := &watchdog{after: stall, last: map[string]jsonstream.Message{}}
	if stall <= 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, w, cancel
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() {
		cancel(&Error{Op: "transfer", Kind: ErrUnavailable, Reason: fmt.Sprintf("unavailable: no progress for %s", stall)})
	})
	return ctx, w, func() {
		w.timer.Stop()
		cancel(nil)
	}
}

// see notes a message. dockerd repeats itself while it waits: that is no progress.
func (w *watchdog) see(m jsonstream.Message) {
	if w.timer == nil {
		return
	}
	before, seen := w.last[m.ID]
	if seen && before.Status == m.Status && position(before) == position(m) {
		return
	}
	w.last[m.ID] = m
	w.timer.Reset(w.after)
}

func position(m jsonstream.Message) int64 {
	if m.Progress == nil {
		return 0
	}
	return m.Progress.Current
}

func progressOf(m jsonstream.Message) Progress {
	p := Progress{ID: m.ID, Status: m.Status, Text: m.Stream}
	if m.Progress != nil && (m.Progress.Units == "" || m.Progress.Units == "bytes") {
		p.Current, p.Total = m.Progress.Current, m.Progress.Total
	}
	return p
}

// listener returns what a transfer's progress is to be told to, and what to call at the end.
func (t *transfer) listener() (tell func(Progress), done func()) {
	if t.render == nil {
		if t.progress == nil {
			return func(Progress) {}, func() {}
		}
		return t.progress, func() {}
	}
	r := newRenderer(t.render)
	return func(p Progress) {
		r.show(p)
		if t.progress != nil {
			t.progress(p)
		}
	}, r.close
}

// renderer shows progress as the docker CLI does.
type renderer struct {
	messages chan jsonstream.Message
	done     chan struct{}
	once     sync.Once
}

func newRenderer(w io.Writer) *renderer {
	r := &renderer{messages: make(chan jsonstream.Message), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_ = jsonmessage.DisplayMessages(func(yield func(jsonstream.Message, error) bool) {
			for m := range r.messages {
				if !yield(m, nil) {
					break
				}
			}
		}, w)
		for range r.messages { // the writer has failed; the transfer goes on
		}
	}()
	return r
}

func (r *renderer) show(p Progress) {
	m := jsonstream.Message{ID: p.ID, Status: p.Status, Stream: p.Text}
	if p.Total > 0 || p.Current > 0 {
		m.Progress = &jsonstream.Progress{Current: p.Current, Total: p.Total}
	}
	r.messages <- m
}

func (r *renderer) close() {
	r.once.Do(func() {
		close(r.messages)
		<-r.done
	})
}
