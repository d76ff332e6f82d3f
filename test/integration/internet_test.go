package integration

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-dev/berth/test/sandbox"
)

// serveInternet plays the world beyond the sandbox's uplink: a name server that
// answers every A question below example.test with the server's own address,
// and a web server that tells a caller its address.
func serveInternet() error {
	if !sandbox.Active() {
		return nil
	}
	return sandbox.Internet(func() error {
		packets, err := net.ListenPacket("udp4", sandbox.InternetAddress+":53")
		if err != nil {
			return err
		}
		go serveNames(packets)
		web, err := net.Listen("tcp4", sandbox.InternetAddress+":80")
		if err != nil {
			return err
		}
		go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "you are %s\n", host)
		}))
		return nil
	})
}

func serveNames(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, err := answerName(buf[:n]); err == nil {
			conn.WriteTo(answer, from)
		}
	}
}

func answerName(packet []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil || len(m.Questions) != 1 {
		return nil, fmt.Errorf("not a question")
	}
	q := m.Questions[0]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RecursionDesired: true},
		Questions: m.Questions,
	}
	switch {
	case !strings.HasSuffix(q.Name.String(), "example.test."):
		reply.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		var a dnsmessage.AResource
		copy(a.A[:], net.ParseIP(sandbox.InternetAddress).To4())
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &a,
		}}
	}
	return reply.Pack()
}
