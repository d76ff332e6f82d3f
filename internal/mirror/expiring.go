package mirror

import (
	"sync"
	"time"
)

// maxExpiring bounds what clients can make the mirror remember, in entries of one map.
const maxExpiring = 8192

// expiring is a map whose entries end. It forgets everything when it is full: what it holds
// can be found out again.
type expiring[V any] struct {
	mu      sync.Mutex
	entries map[string]entry[V]
}

type entry[V any] struct {
	value V
	until time.Time
}

func newExpiring[V any]() *expiring[V] { return &expiring[V]{entries: map[string]entry[V]{}} }

func (e *expiring[V]) get(key string) (V, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	got, ok := e.entries[key]
	if ok && time.Now().After(got.until) {
		delete(e.entries, key)
		ok = false
	}
	if !ok {
		var none V
		return none, false
	}
	return got.value, true
}

func (e *expiring[V]) put(key string, v V, life time.Duration) {
	if life <= 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.entries) >= maxExpiring {
		clear(e.entries)
	}
	e.entries[key] = entry[V]{v, time.Now().Add(life)}
}

func (e *expiring[V]) drop(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.entries, key)
}
