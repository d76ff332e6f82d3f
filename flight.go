package berth

import (
	"context"
	"sync"
)

// flights lets concurrent pulls of one thing share the work. The work ends when it is
// done, or when the last who waits for it has given up.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	cancel  context.CancelFunc
	waiting int
	done    chan struct{}
	image   Image
	err     error

	mu        sync.Mutex // held while listeners are told, so that none is after it has left
	listeners map[int]func(Progress)
	next      int
}

// do returns what work returns, or ctx's error. work is not called when it is under way for key.
func (f *flights) do(ctx context.Context, key string, tell func(Progress), work func(context.Context, func(Progress)) (Image, error)) (Image, error) {
	f.mu.Lock()
	fl, ok := f.m[key]
	if !ok {
		// The work is nobody's in particular: who began it may leave before the others.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{}), listeners: map[int]func(Progress){}}
		if f.m == nil {
			f.m = map[string]*flight{}
		}
		f.m[key] = fl
		go func() {
			fl.image, fl.err = work(shared, fl.tell)
			cancel()
			f.forget(key, fl)
			close(fl.done)
		}()
	}
	fl.waiting++
	f.mu.Unlock()
	defer fl.listen(tell)()
	select {
	case <-fl.done:
		return fl.image, fl.err
	case <-ctx.Done():
	}
	if f.giveUp(key, fl) {
		<-fl.done
	}
	return Image{}, ctx.Err()
}

// giveUp ends the work if nobody else waits for it, and reports whether it has.
func (f *flights) giveUp(key string, fl *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if fl.waiting > 0 {
		return false
	}
	if f.m[key] == fl { // who comes now begins anew
		delete(f.m, key)
	}
	fl.cancel()
	return true
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[key] == fl {
		delete(f.m, key)
	}
}

func (fl *flight) listen(tell func(Progress)) (leave func()) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	id := fl.next
	fl.next++
	fl.listeners[id] = tell
	return func() {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		delete(fl.listeners, id)
	}
}

func (fl *flight) tell(p Progress) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, tell := range fl.listeners {
		tell(p)
	}
}
