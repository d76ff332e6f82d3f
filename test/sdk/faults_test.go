package sdk

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	fake "github.com/google/go-containerregistry/pkg/registry"
)

// faulty is a registry whose answers can be spoilt.
type faulty struct {
	next http.Handler

	mu    sync.Mutex
	spoil func(http.ResponseWriter, *http.Request, http.Handler) bool // true: it has answered
	count map[string]int
}

func newFaulty() *faulty {
	return &faulty{next: fake.New(fake.Logger(log.New(io.Discard, "", 0))), count: map[string]int{}}
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	spoil := f.spoil
	f.count[r.Method+" "+kindOfPath(r.URL.Path)]++
	f.mu.Unlock()
	if spoil == nil || !spoil(w, r, f.next) {
		f.next.ServeHTTP(w, r)
	}
}

func (f *faulty) set(spoil func(http.ResponseWriter, *http.Request, http.Handler) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoil, f.count = spoil, map[string]int{}
}

func (f *faulty) counted(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[what]
}

func kindOfPath(path string) string {
	for _, kind := range []string{"manifests", "blobs"} {
		if strings.Contains(path, "/"+kind+"/") {
			return kind
		}
	}
	return "other"
}

type spoiler = func(http.ResponseWriter, *http.Request, http.Handler) bool

// status answers requests of a kind with a status, the first n times.
func status(code, n int, kind string) spoiler {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodHead || kindOfPath(r.URL.Path) != kind || n == 0 {
			return false
		}
		n--
		w.WriteHeader(code)
		if e, ok := registryErrors[code]; ok {
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, e[0], e[1])
		} else {
			fmt.Fprint(w, "<html>the proxy says no</html>")
		}
		return true
	}
}

// registryErrors are what registries say (distribution-spec, "Error Codes").
var registryErrors = map[int][2]string{
	401: {"UNAUTHORIZED", "authentication required"},
	403: {"DENIED", "requested access to the resource is denied"},
	404: {"BLOB_UNKNOWN", "blob unknown to registry"},
	429: {"TOOMANYREQUESTS", "too many requests"},
	500: {"UNKNOWN", "unknown error"},
}

// hang answers nothing to requests of a kind.
func hang(kind string) spoiler {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if kindOfPath(r.URL.Path) != kind {
			return false
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		panic(http.ErrAbortHandler)
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	code   int
	body   []byte
}

func (r *recorder) Header() http.Header  { return r.header }
func (r *recorder) WriteHeader(code int) { r.code = code }
func (r *recorder) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

func record(h http.Handler, r *http.Request) *recorder {
	rec := &recorder{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(rec, r)
	return rec
}

// spoilBlobs changes what is sent of blobs larger than small, the first n times.
func spoilBlobs(n int, change func(http.ResponseWriter, *recorder)) spoiler {
	const small = 4 << 10 // configurations are smaller
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.Method != http.MethodGet || kindOfPath(r.URL.Path) != "blobs" {
			return false
		}
		rec := record(next, r)
		mu.Lock()
		spoil := n != 0 && len(rec.body) > small
		if spoil {
			n--
		}
		mu.Unlock()
		for k, v := range rec.header {
			w.Header()[k] = v
		}
		if spoil {
			change(w, rec)
			return true
		}
		w.WriteHeader(rec.code)
		_, _ = w.Write(rec.body)
		return true
	}
}

// cut sends half of a blob and drops the connection.
func cut(w http.ResponseWriter, rec *recorder) {
	w.Header().Set("Content-Length", strconv.Itoa(len(rec.body)))
	w.WriteHeader(rec.code)
	_, _ = w.Write(rec.body[:len(rec.body)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// garble sends other bytes than the digest promises.
func garble(w http.ResponseWriter, rec *recorder) {
	body := append([]byte(nil), rec.body...)
	body[len(body)/2] ^= 0xff
	w.WriteHeader(rec.code)
	_, _ = w.Write(body)
}

// withTokens asks for a token, as Docker Hub does (the distribution project's token
// authentication); it is given to user for password.
func withTokens(next http.Handler, host func() string, user, password string) http.Handler {
	token := base64.StdEncoding.EncodeToString([]byte(user + password))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			u, p, ok := r.BasicAuth()
			if r.Method == http.MethodPost { // OAuth 2, which clients try first
				w.WriteHeader(http.StatusNotFound)
				return
			}
			if ok && (u != user || p != password) {
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`)
				return
			}
			given := token
			if !ok {
				given = "anonymous"
			}
			fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, given)
			return
		}
		switch r.Header.Get("Authorization") {
		case "Bearer " + token:
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token",service="sdk.test"`, host()))
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		}
	})
}
