package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-dev/berth/internal/network/resolvconf"
)

const (
	// tryTime is how long one server may take before the next is asked.
	tryTime = 1500 * time.Millisecond
	// rounds is how often the list of servers is gone through, as libc's default.
	rounds = 2
	// detour is how long a server that stood in for a silent one is asked first. Not for
	// good: the first server may be the only one that knows some names.
	detour = 30 * time.Second
)

var (
	errNoServer = errors.New("the host's resolv.conf names no usable name server")
	errRefused  = errors.New("server cannot answer")
)

// upstream asks the host's name servers, from the process's own network namespace.
type upstream struct {
	path string
	log  *slog.Logger
	skip []netip.AddrPort // addresses of our own

	mu      sync.Mutex
	seen    os.FileInfo // the file that servers come from
	servers []netip.AddrPort
	first   int       // index of the server to ask first,
	until   time.Time // until then
}

// ask relays a query to one server after the other until one has an answer. The answer has
// the query's ID. An answer that says the server itself failed counts only when no other
// server does better.
func (u *upstream) ask(ctx context.Context, query []byte, q dnsmessage.Question, by transport) ([]byte, error) {
	servers, first := u.list()
	if len(servers) == 0 {
		return nil, errNoServer
	}
	id := binary.BigEndian.Uint16(query)
	query = slices.Clone(query)
	var fallback []byte
	var failure error
	for i := range rounds * len(servers) {
		if ctx.Err() != nil {
			break
		}
		n := (first + i) % len(servers)
		// An ID of ours: the client's may be easy to guess for others.
		rand.Read(query[:2])
		answer, err := exchange(ctx, servers[n], query, q, by)
		if errors.Is(err, errRefused) {
			fallback = answer
		}
		if err != nil {
			failure = fmt.Errorf("ask %s: %w", servers[n], err)
			continue
		}
		u.prefer(servers, n)
		binary.BigEndian.PutUint16(answer, id)
		return answer, nil
	}
	if fallback != nil {
		binary.BigEndian.PutUint16(fallback, id)
		return fallback, nil
	}
	return nil, errors.Join(failure, ctx.Err())
}

// list returns the servers and which to ask first. It reads the file again when it is
// another one than last time, which costs one stat for most queries.
func (u *upstream) list() ([]netip.AddrPort, int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	info, err := os.Stat(u.path)
	if err == nil && u.seen != nil && os.SameFile(info, u.seen) && info.ModTime().Equal(u.seen.ModTime()) && info.Size() == u.seen.Size() {
		return u.servers, u.begin()
	}
	addrs, readErr := resolvconf.Read(u.path)
	if readErr != nil {
		u.log.Warn("keeping the name servers known so far", "file", u.path, "error", readErr)
		return u.servers, u.begin()
	}
	u.seen, u.servers, u.first = info, nil, 0
	for _, a := range addrs {
		if server := netip.AddrPortFrom(a, port); !slices.Contains(u.skip, server) {
			u.servers = append(u.servers, server)
		}
	}
	return u.servers, u.first
}

// begin is the index of the server to ask first. The lock is held.
func (u *upstream) begin() int {
	if u.first != 0 && time.Now().After(u.until) {
		u.first = 0
	}
	return u.first
}

// prefer makes server n of servers the first to be asked for a while, unless there are
// other servers by now.
func (u *upstream) prefer(servers []netip.AddrPort, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n != u.first && slices.Equal(u.servers, servers) {
		u.first, u.until = n, time.Now().Add(detour)
	}
}

// exchange asks one server once. Where a server does not serve TCP, UDP must do.
func exchange(ctx context.Context, server netip.AddrPort, query []byte, q dnsmessage.Question, by transport) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	if by == overTCP {
		answer, err := exchangeOn(ctx, "tcp", server, query, q)
		if err == nil || errors.Is(err, errRefused) || ctx.Err() != nil {
			return answer, err
		}
	}
	return exchangeOn(ctx, "udp", server, query, q)
}

func exchangeOn(ctx context.Context, network string, server netip.AddrPort, query []byte, q dnsmessage.Question) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Closing is what ends a read when the context does.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		answer, err := readMessage(conn)
		if err != nil {
			return nil, err
		}
		return answer, judge(answer, query, q)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	return readUDP(conn, query, q)
}

// readUDP waits for the answer among whatever else arrives: late answers, forgeries.
func readUDP(conn net.Conn, query []byte, q dnsmessage.Question) ([]byte, error) {
	buf := buffers.Get().(*[maxUDP]byte)
	defer buffers.Put(buf)
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, err
		}
		if err := judge(buf[:n], query, q); err == nil || errors.Is(err, errRefused) {
			return slices.Clone(buf[:n]), err
		}
	}
}

var errForeign = errors.New("message is not the answer to the query")

// judge says whether msg answers the query: nil, errRefused for an answer that tells only
// of the server's own trouble, or errForeign.
func judge(msg, query []byte, q dnsmessage.Question) error {
	var p dnsmessage.Parser
	header, err := p.Start(msg)
	if err != nil || !header.Response || header.ID != binary.BigEndian.Uint16(query) {
		return errForeign
	}
	// A server that could not read the query may leave the question out.
	got, err := p.Question()
	switch {
	case err == nil && (got.Type != q.Type || got.Class != q.Class || canonical(got.Name.String()) != canonical(q.Name.String())):
		return errForeign
	case err != nil && header.RCode == dnsmessage.RCodeSuccess:
		return errForeign
	}
	switch header.RCode {
	case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
		return errRefused
	}
	return nil
}
