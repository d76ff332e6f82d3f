package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// ServeHTTP answers the pull part of the distribution specification.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	out := &answer{ResponseWriter: w}
	m.stats.inFlight.Inc()
	t, result, err := m.serve(out, r)
	m.stats.inFlight.Dec()
	broken := err != nil && out.begun
	if err != nil {
		result = "error"
		if !broken {
			writeError(out, r, err)
		}
		if fails(err) && r.Context().Err() == nil {
			m.log.Warn("request failed", "registry", t.registry, "repository", t.repo, "ref", t.ref(), "error", err)
		}
	}
	m.stats.sent.Add(float64(out.sent))
	m.stats.requests.WithLabelValues(string(t.kind), result, strconv.Itoa(out.status)).Inc()
	m.conf.AccessLog.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("client", r.RemoteAddr), slog.String("method", r.Method), slog.String("registry", t.registry),
		slog.String("repository", t.repo), slog.String("kind", string(t.kind)), slog.String("ref", t.ref()),
		slog.Int("status", out.status), slog.String("result", result), slog.Int64("bytes", out.sent),
		slog.Duration("took", time.Since(begin)))
	if broken {
		panic(http.ErrAbortHandler) // the client must see that it has not got everything
	}
}

func (m *Mirror) serve(w *answer, r *http.Request) (t target, result string, err error) {
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		return t, "", &statusError{status: 405, code: "UNSUPPORTED", message: "the mirror is for pulls; push to the registry itself"}
	}
	if t, err = parseTarget(r.URL.Path, r.URL.Query().Get("ns")); err != nil {
		return t, "", err
	}
	if t.kind == kindBase {
		h.Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return t, "hit", nil
	}
	u, err := m.upstream(t.registry)
	if err != nil {
		return t, "", err
	}
	switch t.kind {
	case kindManifest, kindReferrers:
		result, err = m.serveManifest(w, r, u, t)
	case kindBlob:
		result, err = m.serveBlob(w, r, u, t)
	default:
		result, err = m.serveTags(w, r, u, t)
	}
	return t, result, err
}

func (m *Mirror) serveManifest(w *answer, r *http.Request, u *upstream, t target) (string, error) {
	got, result, err := m.manifest(r.Context(), u, t, shown(r))
	if err != nil {
		return "", err
	}
	h := w.Header()
	h.Set("Content-Type", got.mediaType)
	if t.kind == kindManifest {
		h.Set("Docker-Content-Digest", got.digest.String())
		h.Set("ETag", `"`+got.digest.String()+`"`)
	}
	if got.stale != nil {
		h.Set("Warning", `110 berth-mirror "Response is Stale"`) // RFC 7234, 5.5.1
		m.log.Warn("served a stale tag", "repository", t.registry+"/"+t.repo, "ref", t.ref(), "error", got.stale)
	}
	if strings.Contains(r.Header.Get("If-None-Match"), `"`+got.digest.String()+`"`) {
		w.WriteHeader(http.StatusNotModified)
		return result, nil
	}
	h.Set("Content-Length", strconv.Itoa(len(got.content)))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return result, nil
	}
	_, _ = w.Write(got.content) // that a client has gone is no failure of the mirror
	return result, nil
}

func (m *Mirror) serveBlob(w *answer, r *http.Request, u *upstream, t target) (string, error) {
	ctx := r.Context()
	cred, open, err := m.admit(u, t, shown(r))
	if err != nil {
		return "", err
	}
	_, linked := m.store.link(t)
	b, openErr := m.store.open(t.digest)
	if openErr == nil {
		defer b.Close()
	}
	// A blob that another repository has is no proof that this one has it.
	checked := !open || !linked && openErr == nil
	if checked {
		if err := m.check(ctx, u, t, cred); err != nil {
			return "", err
		}
	}
	if openErr == nil {
		if !linked {
			if err := m.store.setLink(t, t.digest, Link{Size: b.Size}); err != nil {
				m.log.Warn("cannot record a blob", "digest", t.digest.String(), "error", err)
			}
		}
		return "hit", m.content(w, r, t.digest, b)
	}
	if !errors.Is(openErr, fs.ErrNotExist) {
		return "", diskError(openErr)
	}
	if r.Method == http.MethodHead {
		return m.headBlob(ctx, w, u, t, cred)
	}
	return m.stream(w, r, &wanted{u, t, cred, checked})
}

// headBlob asks the registry about a blob that is not here; a question is no reason to fetch it.
func (m *Mirror) headBlob(ctx context.Context, w *answer, u *upstream, t target, cred credential) (string, error) {
	size, _, err := once(ctx, m, flightKey("head", t, cred), func(ctx context.Context) (int64, error) {
		resp, err := u.do(ctx, http.MethodHead, t, "", nil, cred)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		m.granted(t, cred)
		return resp.ContentLength, nil
	})
	if err != nil {
		return "", err
	}
	h := w.Header()
	blobHeader(h, t.digest)
	if size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(http.StatusOK)
	return "proxied", nil
}

func blobHeader(h http.Header, d digest.Digest) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "max-age=31536000, immutable")
	h.Set("Accept-Ranges", "bytes")
}

// content serves a blob or the ranges of it that are asked for.
func (m *Mirror) content(w *answer, r *http.Request, d digest.Digest, from io.ReadSeeker) error {
	blobHeader(w.Header(), d)
	http.ServeContent(w, r, "", time.Time{}, from)
	return w.failed
}

// serveTags passes the registry's list on. When that fails, the tags that are known serve.
func (m *Mirror) serveTags(w *answer, r *http.Request, u *upstream, t target) (string, error) {
	cred, open, err := m.admit(u, t, shown(r))
	if err != nil {
		return "", err
	}
	query := url.Values{}
	for _, name := range []string{"n", "last"} {
		if v := r.URL.Query().Get(name); v != "" {
			query.Set(name, v)
		}
	}
	resp, err := u.do(r.Context(), http.MethodGet, t, query.Encode(), nil, cred)
	if err != nil {
		known := m.store.tags(t)
		if open && len(known) > 0 && (fails(err) || m.conf.Offline) {
			m.stats.stale.Inc()
			return "stale", writeTags(w, r, t, known)
		}
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if err != nil {
		return "", errUpstream(t.registry, err)
	}
	m.granted(t, cred)
	if next := nextPage(resp.Header.Get("Link"), r.URL); next != "" {
		w.Header().Set("Link", next)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
	return "proxied", nil
}

func writeTags(w *answer, r *http.Request, t target, tags []string) error {
	slices.Sort(tags)
	body, err := json.Marshal(map[string]any{"name": t.repo, "tags": tags})
	if err != nil {
		return err
	}
	w.Header().Set("Warning", `110 berth-mirror "Response is Stale"`)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
	return nil
}

// nextPage makes a registry's link to more of a list (RFC 8288) one to the mirror.
func nextPage(link string, here *url.URL) string {
	target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if link == "" || !ok {
		return ""
	}
	theirs, err := url.Parse(target)
	if err != nil {
		return ""
	}
	query := here.Query()
	for _, name := range []string{"n", "last"} {
		query.Del(name)
		if v := theirs.Query().Get(name); v != "" {
			query.Set(name, v)
		}
	}
	return fmt.Sprintf(`<%s?%s>; rel="next"`, here.EscapedPath(), query.Encode())
}
