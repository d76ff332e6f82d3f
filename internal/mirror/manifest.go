package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxManifest bounds a manifest, in bytes; registries are asked to take 4 MiB (the
// distribution specification, "Pushing manifests").
const maxManifest = 8 << 20

// manifestMemory bounds what the manifests that come from one registry at a time may be
// together, in bytes, so that one that sends only large ones does not exhaust the memory.
const manifestMemory = 4 * maxManifest

// flightTime bounds what the mirror asks a registry on behalf of several clients.
const flightTime = time.Minute

// accept are the kinds of manifest that the mirror asks for, whatever a client accepts: it
// keeps one answer for all of them.
var accept = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.oci.artifact.manifest.v1+json", "*/*;q=0.1",
}, ", ")

// manifest is one, complete and verified.
type manifest struct {
	content   []byte
	mediaType string
	digest    digest.Digest
	stale     error // why it may be out of date, or nil
}

// grantKey is under which a registry's yes to a credential is remembered.
func grantKey(t target, cred credential) string {
	return t.registry + "/" + t.repo + " " + cred.key()
}

// admit decides with which credential to ask a registry, and whether what the mirror has of
// the repository may be served without asking.
func (m *Mirror) admit(u *upstream, t target, client credential) (cred credential, open bool, err error) {
	own, err := u.credentials()
	if err != nil {
		return own, false, &statusError{status: 502, code: "UNKNOWN", message: "the mirror's credentials for " + t.registry, err: err}
	}
	if own.own {
		return own, true, nil
	}
	if m.store.isOpen(t.registry, t.repo) {
		return credential{}, true, nil
	}
	_, granted := m.grants.get(grantKey(t, client))
	return client, granted, nil
}

// granted remembers that a registry said yes to a credential.
func (m *Mirror) granted(t target, cred credential) {
	m.grants.put(grantKey(t, cred), struct{}{}, m.conf.AccessTTL)
	if cred.anonymous() && !m.store.isOpen(t.registry, t.repo) {
		if err := m.store.setOpen(t.registry, t.repo, true); err != nil {
			m.log.Warn("cannot record a repository", "repository", t.registry+"/"+t.repo, "error", err)
		}
	}
}

// withdrawn forgets it.
func (m *Mirror) withdrawn(t target, cred credential) {
	m.grants.drop(grantKey(t, cred))
	if cred.anonymous() {
		if err := m.store.setOpen(t.registry, t.repo, false); err != nil {
			m.log.Warn("cannot record a repository", "repository", t.registry+"/"+t.repo, "error", err)
		}
	}
}

// once has f done once for all who ask for it at a time, and remembers failures for a
// while. A client that leaves does not end it for the others.
func once[T any](ctx context.Context, m *Mirror, key string, f func(context.Context) (T, error)) (T, bool, error) {
	var none T
	if err, ok := m.failures.get(key); ok {
		return none, false, err
	}
	ch := m.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(m.ctx, flightTime)
		defer cancel()
		v, err := f(ctx)
		if err != nil {
			m.failures.put(key, err, m.conf.FailureTTL)
		}
		return v, err
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return none, r.Shared, r.Err
		}
		return r.Val.(T), r.Shared, nil
	case <-ctx.Done():
		return none, false, context.Cause(ctx)
	}
}

func flightKey(what string, t target, cred credential) string {
	return strings.Join([]string{what, t.registry, t.repo, string(t.kind), t.ref(), cred.key()}, " ")
}

// check asks a registry whether a credential may have something, without getting it.
func (m *Mirror) check(ctx context.Context, u *upstream, t target, cred credential) error {
	_, _, err := once(ctx, m, flightKey("check", t, cred), func(ctx context.Context) (struct{}, error) {
		resp, err := u.do(ctx, http.MethodHead, t, "", acceptHeader(t), cred)
		if err != nil {
			return struct{}{}, err
		}
		resp.Body.Close()
		m.granted(t, cred)
		return struct{}{}, nil
	})
	return err
}

func acceptHeader(t target) http.Header {
	if t.kind != kindManifest {
		return http.Header{}
	}
	return http.Header{"Accept": {accept}}
}

// manifest returns what a tag or digest stands for. result is for metrics.
func (m *Mirror) manifest(ctx context.Context, u *upstream, t target, client credential) (got manifest, result string, err error) {
	cred, open, err := m.admit(u, t, client)
	if err != nil {
		return got, "", err
	}
	if t.moves() {
		return m.byTag(ctx, u, t, cred, open)
	}
	if known, ok := m.store.knownManifest(t, t.digest); ok {
		if !open {
			if err := m.check(ctx, u, t, cred); err != nil {
				return got, "", err
			}
		}
		return known, "hit", nil
	}
	return m.get(ctx, u, t, cred, time.Now())
}

// byTag serves what is known of a tag while that is fresh, and when its registry fails.
func (m *Mirror) byTag(ctx context.Context, u *upstream, t target, cred credential, open bool) (manifest, string, error) {
	asked := time.Now()
	tag, there := m.store.tag(t)
	var last manifest
	if there {
		last, there = m.store.knownManifest(t, tag.Digest)
	}
	fresh := time.Since(tag.Checked) < m.conf.TagTTL || m.conf.Offline
	if there && open && fresh {
		return last, "hit", nil
	}
	if !there {
		return m.get(ctx, u, t, cred, asked)
	}
	got, result, err := m.news(ctx, u, t, cred, tag, last, open)
	switch {
	case err == nil:
		return got, result, nil
	case fails(err) && open && ctx.Err() == nil:
		last.stale = err
		m.stats.stale.Inc()
		return last, "stale", nil
	case !fails(err) && (status(err) == http.StatusUnauthorized || status(err) == http.StatusForbidden):
		m.withdrawn(t, cred)
	case status(err) == http.StatusNotFound && !m.conf.Offline:
		m.store.dropTag(t)
	}
	return manifest{}, "", err
}

// news is what a tag is now. When its last state will do instead, nobody waits long for it.
func (m *Mirror) news(ctx context.Context, u *upstream, t target, cred credential, tag Tag, last manifest, impatient bool) (manifest, string, error) {
	if impatient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, m.conf.Timeouts.Stale, errUpstream(t.registry, errors.New("it does not answer in time")))
		defer cancel()
	}
	unchanged, _, err := once(ctx, m, flightKey("revalidate", t, cred), func(ctx context.Context) (bool, error) {
		return m.revalidate(ctx, u, t, cred, tag)
	})
	if err != nil {
		return manifest{}, "", err
	}
	if unchanged {
		return last, "hit", nil
	}
	return m.get(ctx, u, t, cred, time.Now())
}

// revalidate asks whether a tag still is what it was.
func (m *Mirror) revalidate(ctx context.Context, u *upstream, t target, cred credential, tag Tag) (unchanged bool, err error) {
	if t.kind == kindReferrers {
		return false, nil // there is nothing to compare by
	}
	header := acceptHeader(t)
	resp, err := u.do(ctx, http.MethodHead, t, "", header, cred)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	m.granted(t, cred)
	said := resp.Header.Get("Docker-Content-Digest")
	if said != tag.Digest.String() && (said != "" || tag.ETag == "" || resp.Header.Get("ETag") != tag.ETag) {
		return false, nil
	}
	tag.Checked = time.Now()
	return true, m.store.setTag(t, tag)
}

// get asks the registry, once for all who ask with the same credential. A client that looked
// in vain, at the moment since, just before another's answer came has that answer.
func (m *Mirror) get(ctx context.Context, u *upstream, t target, cred credential, since time.Time) (manifest, string, error) {
	got, shared, err := once(ctx, m, flightKey("get", t, cred), func(ctx context.Context) (manifest, error) {
		if got, ok := m.gotten(t, cred, since); ok {
			return got, nil
		}
		return m.fetchManifest(ctx, u, t, cred)
	})
	if shared {
		return got, "joined", err
	}
	return got, "miss", err
}

// gotten is what has come since, if the registry has said yes to the credential.
func (m *Mirror) gotten(t target, cred credential, since time.Time) (got manifest, ok bool) {
	if _, granted := m.grants.get(grantKey(t, cred)); !granted {
		return got, false
	}
	if !t.moves() {
		return m.store.knownManifest(t, t.digest)
	}
	if tag, there := m.store.tag(t); there && tag.Checked.After(since) {
		return m.store.knownManifest(t, tag.Digest)
	}
	return got, false
}

func (m *Mirror) fetchManifest(ctx context.Context, u *upstream, t target, cred credential) (manifest, error) {
	resp, err := u.do(ctx, http.MethodGet, t, "", acceptHeader(t), cred)
	if err != nil {
		return manifest{}, err
	}
	defer resp.Body.Close()
	weight := int64(maxManifest)
	if n := resp.ContentLength; n >= 0 {
		weight = min(n, weight)
	}
	if err := u.manifests.Acquire(ctx, weight); err != nil {
		return manifest{}, errUpstream(t.registry, err)
	}
	defer u.manifests.Release(weight)
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return manifest{}, errUpstream(t.registry, err)
	}
	m.stats.received.Add(float64(len(content)))
	got := manifest{content: content, mediaType: resp.Header.Get("Content-Type")}
	if err := got.verify(t, resp.Header.Get("Docker-Content-Digest")); err != nil {
		return manifest{}, err
	}
	m.granted(t, cred)
	m.remember(t, got, resp.Header.Get("ETag"))
	return got, nil
}

// verify computes the digest of what a registry sent, and refuses what it should not be.
func (g *manifest) verify(t target, said string) error {
	bad := func(message string) error {
		return &statusError{status: 502, code: "MANIFEST_INVALID", message: t.registry + " " + message + " for " + t.ref()}
	}
	if len(g.content) > maxManifest {
		return bad(fmt.Sprintf("sent more than %d MiB", maxManifest>>20))
	}
	want := t.digest
	if t.tag != "" && said != "" {
		want = digest.Digest(said)
	}
	if t.kind == kindReferrers || want == "" {
		want = digest.FromBytes(g.content)
	}
	if err := want.Validate(); err != nil {
		return bad("said a digest that is none")
	}
	if want.Algorithm().FromBytes(g.content) != want {
		return bad("sent content with another digest than it should have")
	}
	var body struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(g.content, &body); err != nil {
		return bad("sent what is no manifest")
	}
	if g.digest = want; body.MediaType != "" {
		g.mediaType = body.MediaType
	}
	if _, _, err := mime.ParseMediaType(g.mediaType); err != nil && g.mediaType != "" {
		return bad("sent a manifest with a media type that is none") // and would be a header of ours
	}
	return nil
}

// remember keeps a manifest. That it cannot be kept is no reason not to serve it.
func (m *Mirror) remember(t target, got manifest, etag string) {
	err := m.store.put(got.digest, got.content)
	if err == nil {
		err = m.store.setLink(t, got.digest, Link{MediaType: got.mediaType, Size: int64(len(got.content))})
	}
	if err == nil && t.moves() {
		err = m.store.setTag(t, Tag{Digest: got.digest, ETag: etag, Checked: time.Now()})
	}
	if err != nil {
		m.log.Warn("cannot keep a manifest", "repository", t.registry+"/"+t.repo, "ref", t.ref(), "error", err)
	}
}
