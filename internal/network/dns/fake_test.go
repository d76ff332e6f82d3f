package dns

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-dev/berth/internal/network/nettest"
)

// nameServer is a name server for tests. What it answers depends on the name:
//
//	big*.test    60 TXT records, truncated over UDP
//	fail*.test   SERVFAIL
//	none*.test   NXDOMAIN
//	others       the A record 192.0.2.<id>
type nameServer struct {
	id    byte
	asked atomic.Int32
	mute  atomic.Bool
}

// startNameServer listens on at, in the calling thread's namespace, until the test ends.
func startNameServer(t testing.TB, at string, id byte) *nameServer {
	t.Helper()
	s := &nameServer{id: id}
	udp, err := net.ListenPacket("udp", at)
	nettest.Must(t, err)
	tcp, err := net.Listen("tcp", at)
	nettest.Must(t, err)
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	go s.serveUDP(udp)
	go s.serveTCP(tcp)
	return s
}

func (s *nameServer) serveUDP(c net.PacketConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if msg := s.answer(buf[:n], overUDP); msg != nil {
			c.WriteTo(append([]byte{buf[0] ^ 1}, msg[1:]...), from) // a forgery first: wrong ID
			c.WriteTo(msg, from)
		}
	}
}

func (s *nameServer) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if query, err := readMessage(c); err == nil {
			if msg := s.answer(query, overTCP); msg != nil {
				writeMessage(c, msg)
			}
		}
		c.Close()
	}
}

func (s *nameServer) answer(query []byte, by transport) []byte {
	s.asked.Add(1)
	if s.mute.Load() {
		return nil
	}
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := q.Name.String()
	switch {
	case strings.HasPrefix(name, "fail"):
		return reply(header, &q, dnsmessage.RCodeServerFailure)
	case strings.HasPrefix(name, "none"):
		return reply(header, &q, dnsmessage.RCodeNameError)
	case strings.HasPrefix(name, "big") && by == overUDP:
		return replyTruncated(header, q)
	}
	return build(replying(header, dnsmessage.RCodeSuccess), &q, func(b *dnsmessage.Builder) error {
		rr := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
		if strings.HasPrefix(name, "big") {
			for i := range 60 {
				text := fmt.Sprintf("%d %s", i, strings.Repeat("x", 200))
				if err := b.TXTResource(rr, dnsmessage.TXTResource{TXT: []string{text}}); err != nil {
					return err
				}
			}
			return nil
		}
		if q.Type != dnsmessage.TypeA {
			return nil
		}
		return b.AResource(rr, dnsmessage.AResource{A: [4]byte{192, 0, 2, s.id}})
	})
}
