// Package dns forwards an engine's DNS queries (RFC 1035) to the name servers of the host.
//
// The engine's namespace cannot reach a resolver on the host's loopback address, and need
// not know the others: the forwarder listens inside the engine's network namespace and
// asks from the host's, where it runs. It relays messages as they are, whatever their
// records; it looks at the header and the question only, and answers by itself just for
// the names it was given. It keeps no cache: the host's resolver has one.
//
// Units: times are Go durations. The package knows nothing of engines but the namespace.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network/netns"
	"github.com/berth-dev/berth/internal/network/resolvconf"
)

// Bounds on what clients can make the forwarder hold at a time. When they are reached,
// it reads no more until something is done: the kernel drops what does not fit its queues.
const (
	maxQueries     = 128 // from UDP, being answered
	maxConnections = 64  // TCP, open
	queueBytes     = 1 << 20
)

// Config says what a [Server] does.
type Config struct {
	// NetNS is where Listen's addresses are; nil is the process's own namespace.
	NetNS *os.File
	// Listen are the addresses to serve, UDP and TCP. The first must work, the others are
	// tried: a name server's IPv6 address means nothing where the kernel has no IPv6.
	Listen []netip.AddrPort
	// ResolvConf names the host's name servers; empty for /etc/resolv.conf. It is read
	// again when it changes.
	ResolvConf string
	// Hosts are names that are answered here, without a trailing dot.
	Hosts map[string]netip.Addr
	// Log receives what goes wrong; nil discards it.
	Log *slog.Logger
}

// Addresses are what to listen on for an engine, so that both its containers, which ask
// resolver, and the host's own resolv.conf work in its namespace: besides resolver itself,
// the file's loopback and IPv6 servers. (Queries to its IPv4 servers are redirected.)
func Addresses(resolver netip.Addr, resolvConf string) ([]netip.AddrPort, error) {
	if resolvConf == "" {
		resolvConf = resolvconf.Path
	}
	servers, err := resolvconf.Read(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %w", err)
	}
	listen := []netip.AddrPort{netip.AddrPortFrom(resolver, port)}
	for _, s := range servers {
		if s != resolver && (s.IsLoopback() || s.Is6() && !s.IsLinkLocalUnicast()) {
			listen = append(listen, netip.AddrPortFrom(s, port))
		}
	}
	return listen, nil
}

// Server is a running forwarder.
type Server struct {
	log      *slog.Logger
	hosts    map[string]netip.Addr
	upstream *upstream
	ctx      context.Context // ends with Close, and ends every exchange
	cancel   context.CancelFunc
	addr     netip.AddrPort
	open     []interface{ Close() error }
	queries  chan struct{} // a slot for each query from UDP
	conns    chan struct{} // a slot for each TCP connection
	running  sync.WaitGroup
}

// Serve starts a forwarder; it runs until [Server.Close] or until ctx is cancelled. It
// fails when the first address cannot be listened on.
func Serve(ctx context.Context, cfg Config) (*Server, error) {
	if len(cfg.Listen) == 0 {
		return nil, errors.New("DNS forwarder without an address to listen on")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = resolvconf.Path
	}
	s := &Server{
		log:     cfg.Log,
		hosts:   make(map[string]netip.Addr, len(cfg.Hosts)),
		queries: make(chan struct{}, maxQueries),
		conns:   make(chan struct{}, maxConnections),
	}
	for name, addr := range cfg.Hosts {
		s.hosts[canonical(name)] = addr.Unmap()
	}
	s.upstream = &upstream{path: cfg.ResolvConf, log: cfg.Log}
	listening, err := s.listen(cfg)
	if err != nil {
		s.shut()
		return nil, err
	}
	s.addr = listening[0].udp.LocalAddr().(*net.UDPAddr).AddrPort()
	if here, err := sameNetNS(cfg.NetNS); err != nil || here {
		s.upstream.skip = cfg.Listen // asking ourselves would go on for ever
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	for _, l := range listening {
		s.start(func() { s.serveUDP(l.udp) })
		s.start(func() { s.serveTCP(l.tcp) })
	}
	context.AfterFunc(s.ctx, s.shut)
	return s, nil
}

// Addr is the first address that is served.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close stops the forwarder and waits until it uses nothing any more.
func (s *Server) Close() error {
	s.cancel()
	s.shut()
	s.running.Wait()
	return nil
}

// shut closes the listeners; what is being answered ends by the context.
func (s *Server) shut() {
	for _, l := range s.open {
		l.Close()
	}
}

func (s *Server) start(f func()) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		f()
	}()
}

// pair is one address being listened on.
type pair struct {
	udp *net.UDPConn
	tcp *net.TCPListener
}

func (s *Server) listen(cfg Config) ([]pair, error) {
	var pairs []pair
	all := func() error {
		for i, at := range cfg.Listen {
			p, err := listenOn(at)
			if err != nil && i == 0 {
				return fmt.Errorf("listen for DNS queries: %w", err)
			}
			if err != nil {
				s.log.Warn("not serving DNS on one of the host's name server addresses", "address", at, "error", err)
				continue
			}
			pairs = append(pairs, p)
			s.open = append(s.open, p.udp, p.tcp)
		}
		return nil
	}
	if cfg.NetNS == nil {
		err := all()
		return pairs, err
	}
	err := netns.Do(cfg.NetNS, all)
	return pairs, err
}

func listenOn(at netip.AddrPort) (pair, error) {
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return pair{}, err
	}
	enlarge(udp)
	// The same port, also when the caller let the kernel choose one.
	at = netip.AddrPortFrom(at.Addr(), uint16(udp.LocalAddr().(*net.UDPAddr).Port))
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		udp.Close()
		return pair{}, err
	}
	return pair{udp, tcp}, nil
}

// enlarge lets a burst of queries wait in the kernel: its default holds fewer than 300.
// Without the right to (socket(7), SO_RCVBUFFORCE), the default must do.
func enlarge(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes)
	})
}

func sameNetNS(ns *os.File) (bool, error) {
	if ns == nil {
		return true, nil
	}
	own, err := netns.Current()
	if err != nil {
		return false, err
	}
	defer own.Close()
	return netns.Same(own, ns)
}

// canonical is how names are compared (RFC 4343): without case and final dot.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
