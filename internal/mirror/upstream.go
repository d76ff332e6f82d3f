package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/berth-dev/berth/internal/trust"
)

const (
	userAgent    = "berth-mirror"
	maxRedirects = 5
	// What a registry that limits the rate may ask for at most, and when it does not say.
	maxRetryAfter     = 10 * time.Minute
	defaultRetryAfter = 10 * time.Second
)

// upstream is one registry, as the mirror talks to it.
type upstream struct {
	registry   string
	base       *url.URL
	conf       Upstream
	configured bool
	m          *Mirror
	client     *http.Client
	own        *http.Transport // for the registry and what its configuration names
	foreign    *http.Transport // for wherever it sends us
	tokens     *expiring[string]
	manifests  *semaphore.Weighted // what those that are being read may take, in bytes

	mu        sync.Mutex
	challenge challenge            // the last one; the next request is made in its light
	blocked   map[string]time.Time // by credential: until when the registry wants to be left alone
}

func newUpstream(m *Mirror, registry string, conf Upstream, configured bool) (*upstream, error) {
	u := &upstream{registry: registry, conf: conf, configured: configured, m: m, tokens: newExpiring[string](), manifests: semaphore.NewWeighted(manifestMemory), blocked: map[string]time.Time{}}
	raw := conf.URL
	if raw == "" {
		raw = "https://" + registry
		if registry == hub {
			raw = "https://" + hubHost
		}
	}
	var err error
	if u.base, err = url.Parse(raw); err != nil || u.base.Host == "" || u.base.Scheme != "https" && u.base.Scheme != "http" || u.base.User != nil {
		return nil, fmt.Errorf("%q is not an http or https address", raw)
	}
	u.own, u.foreign = newTransport(m.conf, !configured), newTransport(m.conf, true)
	for _, t := range []*http.Transport{u.own, u.foreign} {
		if t.TLSClientConfig, err = u.tls(t == u.own); err != nil {
			return nil, err
		}
	}
	u.client = &http.Client{Transport: u, CheckRedirect: u.redirect}
	return u, nil
}

// tls is what to trust. What is given for this registry counts for nobody else.
func (u *upstream) tls(own bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	ca := u.m.conf.CAs
	if own {
		ca += u.conf.CA
		c.InsecureSkipVerify = u.conf.Insecure
		if u.conf.ClientCert != nil {
			c.Certificates = []tls.Certificate{*u.conf.ClientCert}
		}
	}
	if ca == "" {
		return c, nil
	}
	pool, err := trust.Pool(ca)
	if err != nil {
		return nil, fmt.Errorf("its authorities: %w", err)
	}
	c.RootCAs = pool
	return c, nil
}

func (u *upstream) close() {
	u.own.CloseIdleConnections()
	u.foreign.CloseIdleConnections()
}

// RoundTrip chooses the connection: redirects and token servers come here too.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	if u.knows(r.URL) {
		return u.own.RoundTrip(r)
	}
	return u.foreign.RoundTrip(r)
}

func (u *upstream) knows(at *url.URL) bool {
	return sameHost(at, u.base) || slices.ContainsFunc(u.conf.Hosts, func(h string) bool {
		return at.Host == h || at.Port() == "443" && at.Hostname() == h
	})
}

func sameHost(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// redirect keeps credentials where they belong, and goes from https only to https.
func (u *upstream) redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("it redirects too often")
	}
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && via[0].URL.Scheme == "http") {
		return fmt.Errorf("it redirects to %s, which is not https", r.URL.Scheme)
	}
	if !sameHost(r.URL, via[0].URL) {
		r.Header.Del("Authorization")
	}
	return nil
}

// credentials are the mirror's own for the registry, if it has any.
func (u *upstream) credentials() (credential, error) {
	if u.conf.User != "" {
		return credential{user: u.conf.User, password: u.conf.Password, own: true}, nil
	}
	if u.m.conf.Credentials == nil {
		return credential{}, nil
	}
	user, password, err := u.m.conf.Credentials(u.registry)
	if err != nil || user == "" {
		return credential{}, err
	}
	return credential{user: user, password: password, own: true}, nil
}

// do asks the registry for something. The answer's status is 200 or 206; anything else is
// an error, as are what keeps the registry from answering. The caller closes the body.
func (u *upstream) do(ctx context.Context, method string, t target, query string, header http.Header, cred credential) (*http.Response, error) {
	if u.m.conf.Offline {
		return nil, errOffline(t)
	}
	if wait := u.wait(cred); wait > 0 {
		return nil, &statusError{status: 429, code: "TOOMANYREQUESTS", message: u.registry + " limits the rate of requests", retryAfter: wait}
	}
	begin := time.Now()
	resp, err := u.send(ctx, method, t, query, header, cred)
	u.m.stats.upstream(u, method, resp, err, time.Since(begin))
	if err != nil {
		return nil, u.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	resp.Body.Close()
	return nil, u.refusal(resp, t, cred)
}

// send makes the request, and once more with what the registry's challenge asks for.
func (u *upstream) send(ctx context.Context, method string, t target, query string, header http.Header, cred credential) (*http.Response, error) {
	u.mu.Lock()
	c := u.challenge
	u.mu.Unlock()
	for attempt := 0; ; attempt++ {
		at := *u.base
		at.Path, at.RawQuery = t.path(), query
		req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
		if err != nil {
			return nil, err
		}
		if header != nil {
			req.Header = header.Clone()
		}
		req.Header.Set("User-Agent", userAgent)
		if err := u.authorize(ctx, req, c, t.repo, cred); err != nil {
			return nil, err
		}
		resp, err := u.client.Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || attempt == 1 || !sameHost(resp.Request.URL, u.base) {
			return resp, err
		}
		var ok bool
		if c, ok = parseChallenge(resp.Header.Values("WWW-Authenticate")); !ok || c.scheme == "basic" && cred.user == "" {
			return resp, nil
		}
		resp.Body.Close()
		u.tokens.drop(cred.key() + " " + t.repo)
		u.mu.Lock()
		u.challenge = c
		u.mu.Unlock()
	}
}

func (u *upstream) authorize(ctx context.Context, req *http.Request, c challenge, repo string, cred credential) error {
	switch {
	case cred.bearer != "":
		req.Header.Set("Authorization", "Bearer "+cred.bearer)
	case c.scheme == "bearer":
		token, err := u.token(ctx, c, repo, cred)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case c.scheme == "basic" && cred.user != "":
		req.SetBasicAuth(cred.user, cred.password)
	}
	return nil
}

// unreachable is the answer for what kept the registry from answering. What the user can mend
// is a 403: it is the status of which docker shows the message.
func (u *upstream) unreachable(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		advice := trust.Refused(certificate).Advice(u.registry)
		return &statusError{status: 403, code: "DENIED", unreached: true, message: "the mirror does not trust " + advice + " (of berth mirror serve)"}
	}
	var refused *privateError
	var known *statusError
	var noHost *net.DNSError
	switch {
	case errors.As(err, &refused):
		return &statusError{status: 403, code: "DENIED", unreached: true, message: fmt.Sprintf("%s: %s (berth mirror serve --upstream %s)", u.registry, refused.Error(), u.registry)}
	case errors.As(err, &known):
		return known
	case errors.As(err, &noHost) && noHost.IsNotFound:
		return errUpstream(u.registry, errors.New("there is no such host"))
	}
	return errUpstream(u.registry, err)
}

// refusal is the answer for a registry's that is not what was asked for.
func (u *upstream) refusal(resp *http.Response, t target, cred credential) error {
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return errUnauthorized(u.registry)
	case code == http.StatusForbidden:
		return &statusError{status: 403, code: "DENIED", message: u.registry + " denies access to " + t.repo}
	case code == http.StatusNotFound:
		return errUnknown(t)
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		wait := retryAfter(resp.Header.Get("Retry-After"))
		u.block(cred, wait)
		return &statusError{status: 429, code: "TOOMANYREQUESTS", message: u.registry + " limits the rate of requests", retryAfter: wait}
	case code == http.StatusRequestedRangeNotSatisfiable:
		return &statusError{status: 416, code: "SIZE_INVALID", message: u.registry + " has not so many bytes of " + t.ref()}
	default:
		return &statusError{status: 502, code: "UNKNOWN", message: u.registry + " answered " + resp.Status}
	}
}

// retryAfter reads the header: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(s string) time.Duration {
	wait := defaultRetryAfter
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && n >= 0 {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, time.Second), maxRetryAfter)
}

func (u *upstream) block(cred credential, d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.blocked) >= maxExpiring {
		clear(u.blocked)
	}
	u.blocked[cred.key()] = time.Now().Add(d)
}

// wait is for how long the registry wants to be left alone.
func (u *upstream) wait(cred credential) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Until(u.blocked[cred.key()])
}
