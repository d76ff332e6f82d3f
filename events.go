package berth

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Event is something that happened to the engine, which its user should know.
type Event struct {
	Time  time.Time
	Text  string // one line, such as that the memory limit was reached
	Ended bool   // the last one: the engine has ended
}

// Events yields what happens to the engine, from its start on; it ends with the engine or
// with ctx. Docker's own events are at [Engine.Client]. An engine that outlives its handle
// tells only its end.
func (e *Engine) Events(ctx context.Context) iter.Seq[Event] {
	e.watch()
	return func(yield func(Event) bool) {
		for i := 0; ; i++ {
			event, ok := e.event(ctx, i)
			if !ok || !yield(event) {
				return
			}
		}
	}
}

// event waits for the event number i; false is for none any more.
func (e *Engine) event(ctx context.Context, i int) (Event, bool) {
	for {
		ended := e.ended() // asked first: the last event comes before the end
		e.mu.Lock()
		more := e.more
		if i < len(e.events) {
			defer e.mu.Unlock()
			return e.events[i], true
		}
		e.mu.Unlock()
		if ended {
			return Event{}, false
		}
		select {
		case <-more:
		case <-e.done:
		case <-ctx.Done():
			return Event{}, false
		}
	}
}

func (e *Engine) ended() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// follow takes the events of the engine's berth process until that has ended.
func (e *Engine) follow() {
	for {
		event, err := e.process.next()
		now := time.Now()
		switch {
		case err != nil:
			e.finish(err, nil, now)
			return
		case event.Note != "":
			e.record(Event{Time: now, Text: event.Note})
		case event.Ended != nil:
			e.process.hangUp()
			_ = e.process.wait()
			e.finish(reason(event.Ended.Reason), reason(event.Ended.Left), now)
			return
		}
	}
}

func reason(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func (e *Engine) record(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
	close(e.more)
	e.more = make(chan struct{})
}

// finish is called once, when the engine is gone.
func (e *Engine) finish(why, left error, now time.Time) {
	last := Event{Time: now, Text: "the engine has ended", Ended: true}
	e.mu.Lock()
	if why != nil {
		last.Text = why.Error()
		e.err = &Error{Op: "engine", Subject: e.info.Name, Kind: ErrUnavailable, Reason: "ended: " + why.Error(), Err: why}
	}
	if left != nil {
		e.left = &Error{Op: "close engine", Subject: e.info.Name, Reason: left.Error() + "; `berth gc` removes what is left", Err: left}
	}
	e.mu.Unlock()
	e.record(last)
	e.once.Do(func() { close(e.done) })
}
