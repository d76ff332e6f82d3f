package boot

import (
	"context"
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

// registry is one that is to be looked at, and whom to trust for it.
type registry struct {
	Host  string
	Roots []string // PEM, beside the system's
}

// newRegistries takes those that certs has authorities for; cas, if any, count for all of them.
// An engine knows them as they are at its start.
func newRegistries(certs certsd.Tree, cas string, say func(string, ...any)) *registries {
	r := &registries{say: say}
	for _, host := range slices.Sorted(maps.Keys(certs)) {
		if len(certs.Named(host, ".crt")) > 0 && certsd.CheckRegistry(host) == nil {
			r.left = append(r.left, registry{host, []string{cas, certs.Trusted(host)}})
		}
	}
	return r
}

// toLook are those that somebody has to look at.
func (r *registries) toLook() []registry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.left)
}

// looked takes what was found, by host, and says what is wrong in the log once. Those that are
// trusted, and those that no certificate was seen of, are not looked at again.
func (r *registries) looked(advice map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer slim(r.say)
	r.left = slices.DeleteFunc(r.left, func(reg registry) bool {
		text, seen := advice[reg.Host]
		if text != "" && !slices.Contains(r.said, text) {
			r.said = append(r.said, text)
			r.say("%s", text)
		}
		return seen && text == ""
	})
}

// look judges the certificates of registries as dockerd does, from the container's network, in
// which the engine's connections end up. It says what is wrong, by host.
func look(ctx context.Context, list []registry) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	advice := map[string]string{}
	var mu sync.Mutex // guards advice
	var wg sync.WaitGroup
	for _, reg := range list {
		wg.Go(func() {
			text := reg.look(ctx)
			mu.Lock()
			defer mu.Unlock()
			advice[reg.Host] = text
		})
	}
	wg.Wait()
	return advice
}

func (r registry) look(ctx context.Context) string {
	roots, err := trust.Pool(r.Roots...)
	if err != nil {
		return "" // dockerd says of a file that has no certificate
	}
	seen, err := trust.Inspect(ctx, (&net.Dialer{}).DialContext, r.Host, roots)
	if err != nil {
		return "" // it may be down, or serve without TLS: a pull will say so
	}
	return seen.Advice(r.Host)
}
