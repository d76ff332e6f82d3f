package mirror

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Control serves those who look after the mirror: status, list, collect, import, export and metrics.
func (m *Mirror) Control(listen []string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Metrics())
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, func() (any, error) { return m.Status(listen) })
	})
	mux.HandleFunc("GET /list", func(w http.ResponseWriter, _ *http.Request) { reply(w, func() (any, error) { return m.store.List() }) })
	mux.HandleFunc("POST /collect", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		if err != nil {
			size = -1
		}
		reply(w, func() (any, error) { return m.store.Collect(size) })
	})
	mux.HandleFunc("GET /export", m.serveExport)
	mux.HandleFunc("POST /import", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		reply(w, func() (any, error) {
			return m.store.Import(r.Context(), r.Body, ImportOptions{As: q.Get("as"), Public: q.Get("public") == "true"})
		})
	})
	return mux
}

func reply(w http.ResponseWriter, f func() (any, error)) {
	v, err := f()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// serveExport answers with the archive. What goes wrong after its begin breaks the answer off.
func (m *Mirror) serveExport(w http.ResponseWriter, r *http.Request) {
	m.settle()
	e, err := m.store.planExport(r.URL.Query()["image"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer e.release()
	w.Header().Set("Content-Type", "application/x-tar")
	if err := e.write(r.Context(), w); err != nil {
		m.log.Warn("an export was broken off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// settle waits until what clients have got to its end is on the disk.
func (m *Mirror) settle() {
	m.mu.Lock()
	var all []*download
	for _, d := range m.downloads {
		all = append(all, d)
	}
	m.mu.Unlock()
	for _, d := range all {
		d.mu.Lock()
		for d.done && !d.closed {
			d.moved.Wait()
		}
		d.mu.Unlock()
	}
}
