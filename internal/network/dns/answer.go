package dns

import (
	"context"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// transport is how a query came, and how its answer goes.
type transport bool

const (
	overUDP transport = false
	overTCP transport = true
)

// hostTTL is for how many seconds the answers for our own names may be kept; they change
// only with the engine.
const hostTTL = 60

// answer returns the reply to a query, or nil when it deserves none.
func (s *Server) answer(ctx context.Context, query []byte, by transport) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil || header.Response {
		return nil // two servers that answer answers would never end
	}
	if header.OpCode != 0 {
		return reply(header, nil, dnsmessage.RCodeNotImplemented)
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return reply(header, nil, dnsmessage.RCodeFormatError)
	}
	q := questions[0]
	if addr, ok := s.hosts[canonical(q.Name.String())]; ok {
		return replyHost(header, q, addr)
	}
	answer, err := s.upstream.ask(ctx, query, q, by)
	if err != nil {
		if s.ctx.Err() != nil {
			return nil
		}
		s.log.Debug("DNS query failed", "name", q.Name.String(), "type", q.Type.String(), "error", err)
		return reply(header, &q, dnsmessage.RCodeServerFailure)
	}
	if by == overUDP && len(answer) >= maxUDP {
		return replyTruncated(header, q)
	}
	return answer
}

// replying is the header of an answer of our own.
func replying(to dnsmessage.Header, code dnsmessage.RCode) dnsmessage.Header {
	return dnsmessage.Header{
		ID: to.ID, Response: true, OpCode: to.OpCode, RCode: code,
		RecursionDesired: to.RecursionDesired, RecursionAvailable: true,
	}
}

// reply says nothing but a code.
func reply(to dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode) []byte {
	return build(replying(to, code), q, nil)
}

// replyTruncated says that the answer is to be asked for again by TCP.
func replyTruncated(to dnsmessage.Header, q dnsmessage.Question) []byte {
	header := replying(to, dnsmessage.RCodeSuccess)
	header.Truncated = true
	return build(header, &q, nil)
}

// replyHost answers for a name of our own: its address, or no data for other types.
func replyHost(to dnsmessage.Header, q dnsmessage.Question, addr netip.Addr) []byte {
	header := replying(to, dnsmessage.RCodeSuccess)
	header.Authoritative = true
	return build(header, &q, func(b *dnsmessage.Builder) error {
		rr := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: hostTTL}
		wants := func(t dnsmessage.Type) bool { return q.Type == t || q.Type == dnsmessage.TypeALL }
		switch {
		case addr.Is4() && wants(dnsmessage.TypeA):
			return b.AResource(rr, dnsmessage.AResource{A: addr.As4()})
		case addr.Is6() && wants(dnsmessage.TypeAAAA):
			return b.AAAAResource(rr, dnsmessage.AAAAResource{AAAA: addr.As16()})
		}
		return nil
	})
}

// build packs a message; nil for one that cannot be, which no parsed question leads to.
func build(header dnsmessage.Header, q *dnsmessage.Question, answers func(*dnsmessage.Builder) error) []byte {
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), header)
	if q != nil {
		if b.StartQuestions() != nil || b.Question(*q) != nil {
			return nil
		}
	}
	if answers != nil {
		if b.StartAnswers() != nil || answers(&b) != nil {
			return nil
		}
	}
	msg, err := b.Finish()
	if err != nil {
		return nil
	}
	return msg
}
