package boot

import (
	"context"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/trust"
)

// lookTime bounds a look at all registries.
const lookTime = 2 * time.Second

// registries are those for which the container has certificates: somebody wants to pull from
// them, and certificates that do not fit are a mistake to be told of before the first pull.
type registries struct {
	say func(string, ...any)

	mu   sync.Mutex // guards what follows
	left []registry // not yet found to be trusted
	said []string
}

type registry struct {
	host  string
	roots *x509.CertPool
}

// newRegistries takes those that certs has authorities for; cas, if any, count for all of them.
// An engine knows them as they are at its start.
func newRegistries(certs certsd.Tree, cas string, say func(string, ...any)) *registries {
	r := &registries{say: say}
	for _, host := range slices.Sorted(maps.Keys(certs)) {
		if len(certs.Named(host, ".crt")) == 0 || certsd.CheckRegistry(host) != nil {
			continue
		}
		roots, err := trust.Pool(cas, certs.Trusted(host))
		if err == nil { // dockerd says of a file that is none
			r.left = append(r.left, registry{host, roots})
		}
	}
	return r
}

// distrusted says what is wrong with the certificates of registries, a line each, and says it
// in the log once. Those that are trusted, and those that no certificate is seen of, are not
// asked again.
func (r *registries) distrusted(ctx context.Context) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.left) == 0 {
		return nil
	}
	defer slim(r.say) // nothing else here speaks TLS
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	advice := make([]string, len(r.left))
	var wg sync.WaitGroup
	for i, reg := range r.left {
		wg.Go(func() { advice[i] = reg.look(ctx) })
	}
	wg.Wait()
	var left []registry
	for i, text := range advice {
		if text == "" {
			continue
		}
		left = append(left, r.left[i])
		if !slices.Contains(r.said, text) {
			r.said = append(r.said, text)
			r.say("%s", text)
		}
	}
	r.left = left
	return slices.DeleteFunc(advice, func(s string) bool { return s == "" })
}

// look judges a registry's certificate as dockerd does, from the container's network, in which
// the engine's connections end up.
func (r registry) look(ctx context.Context) string {
	seen, err := trust.Inspect(ctx, (&net.Dialer{}).DialContext, r.host, r.roots)
	if err != nil {
		return "" // it may be down, or serve without TLS: a pull will say so
	}
	return seen.Advice(r.host)
}
