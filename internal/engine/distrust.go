package engine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/trust"
)

var (
	// dockerd's texts for a registry whose certificate it does not trust, and for one that the
	// mirror could not reach.
	distrusted = regexp.MustCompile(`https://([^/"\\ ]+)/v2/[^ ]* *(?:tls|x509): `)
	unmirrored = regexp.MustCompile(`/v2/[^ ?"\\]+\?ns=([^ "\\&]+): 50[0-9] `)
)

// probeTime bounds a look at a registry's certificate: the end of an engine may wait for it.
const probeTime = 2 * time.Second

// certificateWatch explains certificates that the engine does not trust: dockerd says
// neither who issued them nor what would mend it.
type certificateWatch struct {
	mon   *monitor
	spec  *Spec
	roots string // file with the usual authorities

	mu    sync.Mutex // guards what follows
	seen  map[string]bool
	net   *network.Record
	netns *os.File // nil until the engine has its network
	wg    sync.WaitGroup
}

// arm says how the engine reaches registries.
func (w *certificateWatch) arm(rec *network.Record, ns *os.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.net, w.netns = rec, ns
}

// suspect is the registry of which a line of dockerd's log complains, or "".
func suspect(line []byte) string {
	if !bytes.Contains(line, []byte("level=error")) {
		return ""
	}
	for _, p := range []*regexp.Regexp{distrusted, unmirrored} {
		if m := p.FindSubmatch(line); m != nil {
			return string(bytes.ReplaceAll(m[1], []byte("%3A"), []byte(":")))
		}
	}
	return ""
}

// line looks at a line of dockerd's log. A registry is looked at once.
func (w *certificateWatch) line(line []byte) {
	host := suspect(line)
	if host == "" || CheckRegistry(host) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[host] || len(w.seen) >= 16 || w.netns == nil {
		return
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[host] = true
	w.wg.Go(func() { w.explain(host) })
}

func (w *certificateWatch) explain(host string) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	texts := []string{w.spec.Trust.CAs}
	for _, ca := range w.spec.RegistryCAs {
		if ca.Host == host {
			texts = append(texts, ca.PEM)
		}
	}
	if usual, err := os.ReadFile(w.roots); err == nil {
		texts = append(texts, string(usual))
	}
	pool, err := trust.Pool(texts...)
	if err != nil {
		return
	}
	seen, err := trust.Inspect(ctx, w.dial, host, pool)
	if err != nil {
		w.mon.log.Debug("look at a registry's certificate", "registry", host, "error", err)
		return
	}
	if advice := seen.Advice(host); advice != "" {
		w.mon.note(advice)
	}
}

// dial connects as the engine would: with its names, in its network.
func (w *certificateWatch) dial(ctx context.Context, proto, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := w.resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	err = fmt.Errorf("%s has no address", name)
	for _, a := range addrs {
		err = netns.Do(w.netns, func() (err error) {
			conn, err = (&net.Dialer{}).DialContext(ctx, proto, net.JoinHostPort(a.Unmap().String(), port))
			return err
		})
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (w *certificateWatch) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	for _, h := range w.spec.Network.Hosts {
		if h.Name == name {
			a, err := h.address(w.net)
			return []netip.Addr{a}, err
		}
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// wait lets what is being looked at come to its end.
func (w *certificateWatch) wait() { w.wg.Wait() }

// usualAuthorities is the payload's bundle as a file of this machine.
func (m *Manager) usualAuthorities(info *Info) string {
	return filepath.Join(m.paths.Payload(), info.Payload, "rootfs", payloadCerts, filepath.Base(bundleFile))
}
