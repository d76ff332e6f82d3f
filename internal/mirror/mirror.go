// Package mirror is a pull-through cache for any number of OCI registries
// (https://github.com/opencontainers/distribution-spec, the pull part), as an http.Handler.
//
// A request names its registry in one of three ways: by ?ns=<registry>, as containerd asks;
// by the first part of the path, /v2/<registry>/<repository>/…, for clients that cannot (with
// _ for the : of a port where an image's name allows no colon: host_5000/app); or not at all, which means Docker Hub, as Docker's own registry-mirrors setting asks.
//
// What is requested by several clients at once is fetched once. Content is kept by digest
// and never served as complete before its digest was verified. Tags are asked for again
// after a while, and served stale when their registry does not answer. What a registry gave
// only for credentials is served only to who has shown that registry such credentials.
//
// Names from clients are hostile: a registry that is not in the configuration is reached
// on public addresses only, and so are the places that registries redirect to.
//
// Sizes are bytes, digests are those of the OCI image specification. The package knows
// nothing of engines, sockets and command lines.
package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Defaults of [Config].
const (
	DefaultTagTTL     = 10 * time.Second
	DefaultFailureTTL = 5 * time.Second
	DefaultAccessTTL  = time.Minute
	DefaultMaxConns   = 32
)

// defaultTimeouts stand for the zero fields of [Timeouts].
var defaultTimeouts = Timeouts{Dial: 10 * time.Second, Header: 30 * time.Second, Stall: 30 * time.Second, Stale: 5 * time.Second, Linger: 5 * time.Second}

// Timeouts bound the waiting for registries and clients. The zero value of a field is its default.
type Timeouts struct {
	Dial   time.Duration // for a connection, and for its TLS handshake (10 s)
	Header time.Duration // from a request to the begin of its answer (30 s)
	Stall  time.Duration // for the next byte in the middle of a blob (30 s)
	Stale  time.Duration // for news of a tag whose last state is known (5 s)
	Linger time.Duration // for a client to come back to a download that nobody waits for any more (5 s)
}

// Verify says when a blob's digest is computed again as it is read from disk.
type Verify string

const (
	VerifyOnce   Verify = "once"   // before it is first served, and when its file has changed
	VerifyAlways Verify = "always" // each time
	VerifyNever  Verify = "never"
)

// Config says what a [Mirror] does. The zero value of each field but Dir is usable.
type Config struct {
	Dir        string              // where content is kept; made when missing
	Upstreams  map[string]Upstream // by registry name
	Allow      []string            // patterns of registries; empty: all. See path.Match
	Deny       []string            // stronger than Allow
	TagTTL     time.Duration       // how long a tag is not asked for again; negative: not at all
	FailureTTL time.Duration       // how long a failure is remembered
	AccessTTL  time.Duration       // how long a registry's yes to a client's credentials is
	MaxSize    int64               // bytes on disk; 0: no bound
	Offline    bool                // never asks a registry
	Verify     Verify              // empty: VerifyOnce
	Finish     bool                // finish a download that nobody waits for any more
	MaxConns   int                 // open connections to one registry
	CAs        string              // PEM; trusted for every registry besides the system's
	Timeouts   Timeouts
	// Credentials finds the mirror's own for a registry that Upstreams has none for; it
	// returns empty strings when there are none. Whoever reaches the mirror profits by them.
	Credentials func(registry string) (user, password string, err error)
	Log         *slog.Logger // what goes wrong; nil: nothing
	AccessLog   *slog.Logger // a record for each request; nil: none
}

// Upstream is what the configuration says of one registry.
type Upstream struct {
	URL        string // scheme and host; empty: https://<registry>
	CA         string // PEM, trusted for this registry alone
	ClientCert *tls.Certificate
	Insecure   bool   // certificates are not judged
	User       string // the mirror's own credentials
	Password   string
	// Hosts are other hosts (with :port when not 443) on private addresses that the registry
	// may send clients to: for its tokens or its content.
	Hosts []string
}

// Mirror is a pull-through cache. Make it with [New].
type Mirror struct {
	conf  Config
	log   *slog.Logger
	store *Store
	stats *metrics

	mu        sync.Mutex
	upstreams map[string]*upstream
	downloads map[string]*download // see downloadKey

	ctx      context.Context // of what is asked of registries for several clients at once
	end      context.CancelFunc
	flights  singleflight.Group
	failures *expiring[error]
	grants   *expiring[struct{}]
	wg       sync.WaitGroup // of downloads
}

// New opens the mirror's content, which no other process may have open. Errors: the
// directory cannot be used, is in use ([ErrInUse]), or a setting is wrong.
func New(conf Config) (*Mirror, error) {
	setDefaults(&conf)
	m := &Mirror{
		conf: conf, log: conf.Log, stats: newMetrics(),
		upstreams: map[string]*upstream{}, downloads: map[string]*download{},
		failures: newExpiring[error](), grants: newExpiring[struct{}](),
	}
	m.ctx, m.end = context.WithCancel(context.Background())
	var err error
	if m.conf.Upstreams, err = byRegistry(conf.Upstreams); err != nil {
		return nil, err
	}
	for name := range m.conf.Upstreams {
		if _, err := m.upstream(name); err != nil {
			return nil, err
		}
	}
	if m.store, err = OpenStore(conf.Dir, conf.MaxSize, conf.Verify, conf.Log); err != nil {
		return nil, err
	}
	m.stats.watch(m)
	return m, nil
}

// byRegistry has what is configured under the canonical names, as requests ask for it.
func byRegistry(given map[string]Upstream) (map[string]Upstream, error) {
	out := map[string]Upstream{}
	for name, u := range given {
		registry, err := parseRegistry(name)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", name, err)
		}
		if _, twice := out[registry]; twice {
			return nil, fmt.Errorf("upstream %q: %s is there twice, by several names", name, registry)
		}
		out[registry] = u
	}
	return out, nil
}

func setDefaults(c *Config) {
	if c.TagTTL == 0 {
		c.TagTTL = DefaultTagTTL
	}
	if c.FailureTTL == 0 {
		c.FailureTTL = DefaultFailureTTL
	}
	if c.AccessTTL == 0 {
		c.AccessTTL = DefaultAccessTTL
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.Verify == "" {
		c.Verify = VerifyOnce
	}
	for given, usual := range map[*time.Duration]time.Duration{
		&c.Timeouts.Dial: defaultTimeouts.Dial, &c.Timeouts.Header: defaultTimeouts.Header, &c.Timeouts.Stall: defaultTimeouts.Stall,
		&c.Timeouts.Stale: defaultTimeouts.Stale, &c.Timeouts.Linger: defaultTimeouts.Linger,
	} {
		if *given == 0 {
			*given = usual
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.AccessLog == nil {
		c.AccessLog = slog.New(slog.DiscardHandler)
	}
}

// Close ends what is being fetched, which is resumed another time, and lets go of the
// directory. Requests must have ended, or be about to.
func (m *Mirror) Close() error {
	m.end()
	m.mu.Lock()
	for _, u := range m.upstreams {
		u.close()
	}
	m.mu.Unlock()
	m.wg.Wait()
	return m.store.Close()
}

// Store is the mirror's content.
func (m *Mirror) Store() *Store { return m.store }

// Metrics serves the mirror's figures in Prometheus' format.
func (m *Mirror) Metrics() http.Handler { return m.stats.handler() }

// upstream returns the connection to a registry.
func (m *Mirror) upstream(registry string) (*upstream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.upstreams[registry]; u != nil {
		return u, nil
	}
	conf, configured := m.conf.Upstreams[registry]
	if !configured && !m.permitted(registry) {
		return nil, errDenied(registry)
	}
	u, err := newUpstream(m, registry, conf, configured)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", registry, err)
	}
	if len(m.upstreams) >= maxUpstreams {
		m.forgetUpstream()
	}
	m.upstreams[registry] = u
	return u, nil
}

// maxUpstreams bounds what clients can make the mirror remember by naming registries.
const maxUpstreams = 256

// forgetUpstream drops one that is not in the configuration; what uses it goes on.
func (m *Mirror) forgetUpstream() {
	for name, u := range m.upstreams {
		if !u.configured {
			u.close()
			delete(m.upstreams, name)
			return
		}
	}
}

// ErrInUse says that another process has the mirror's directory open.
var ErrInUse = errors.New("another mirror uses this directory")
