// Package distrust explains the certificates that a dockerd does not trust. dockerd's own
// messages say neither who issued such a certificate nor what would mend it: this package
// reads its log, looks at the registry as dockerd would, and says both in one line.
package distrust

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/lazyregexp"
	"github.com/berth-dev/berth/internal/trust"
)

var (
	// dockerd's texts for a registry whose certificate it does not trust, and for one that the
	// mirror could not reach.
	distrusted = lazyregexp.New(`https://([^/"\\ ]+)/v2/[^ ]* *(?:tls|x509): `)
	unmirrored = lazyregexp.New(`/v2/[^ ?"\\]+\?ns=([^ "\\&]+): 50[0-9] `)
)

const (
	// probeTime bounds a look at a registry's certificate: the end of an engine may wait for it.
	probeTime = 2 * time.Second
	// maxLooks bounds the registries that are looked at.
	maxLooks = 16
)

// Watch looks at the registries that one dockerd does not trust, each once. Its methods may
// be called from several goroutines.
type Watch struct {
	// Dial connects as dockerd would: with its names, in its network.
	Dial trust.Dial
	// Roots returns the authorities (PEM) that dockerd trusts for a registry, besides this system's.
	Roots func(host string) []string
	// Say is given what a user should know; one line.
	Say func(string)
	Log *slog.Logger

	mu   sync.Mutex // guards what follows
	seen map[string]bool
	wg   sync.WaitGroup
}

// suspect is the registry of which a line of dockerd's log complains, or "".
func suspect(line []byte) string {
	if !bytes.Contains(line, []byte("level=error")) {
		return ""
	}
	for _, p := range []func() *regexp.Regexp{distrusted, unmirrored} {
		if m := p().FindSubmatch(line); m != nil {
			if host := strings.ReplaceAll(string(m[1]), "%3A", ":"); certsd.CheckRegistry(host) == nil {
				return host
			}
		}
	}
	return ""
}

// Line takes a line of dockerd's log. It does not wait for what it starts.
func (w *Watch) Line(line []byte) {
	host := suspect(line)
	if host == "" || !w.first(host) {
		return
	}
	w.wg.Go(func() { w.Look(context.Background(), host) })
}

func (w *Watch) first(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[host] || len(w.seen) >= maxLooks {
		return false
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[host] = true
	return true
}

// Look says what is wrong with the certificate of a registry, host or host:port, if
// anything is. It takes two seconds at most, and ends with ctx.
func (w *Watch) Look(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	pool, err := trust.Pool(w.Roots(host)...)
	if err != nil {
		w.Log.Debug("put authorities together", "registry", host, "error", err)
		return
	}
	seen, err := trust.Inspect(ctx, w.Dial, host, pool)
	if err != nil {
		w.Log.Debug("look at a registry's certificate", "registry", host, "error", err)
		return
	}
	if advice := seen.Advice(host); advice != "" {
		w.Say(advice)
	}
}

// Wait lets what [Watch.Line] has started come to its end.
func (w *Watch) Wait() { w.wg.Wait() }
