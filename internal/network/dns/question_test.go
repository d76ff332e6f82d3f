package dns

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-dev/berth/internal/network/netns"
)

func upLoopback() error { return netlink.LinkSetUp(netns.Loopback()) }

// question is a query for the A record of name.
func question(name string) []byte {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	return build(dnsmessage.Header{ID: 0x1234, RecursionDesired: true}, &q, nil)
}

// FuzzMessages: whatever a server or a client sends, it is answered or dropped.
func FuzzMessages(f *testing.F) {
	f.Add(question("example.test."), question("example.test."))
	f.Fuzz(func(t *testing.T, query, answer []byte) {
		var p dnsmessage.Parser
		header, err := p.Start(query)
		if err != nil {
			return
		}
		q, err := p.Question()
		if err != nil {
			return
		}
		if judge(answer, query, q) == nil && len(answer) < 12 {
			t.Error("took a message without a header for an answer")
		}
		for _, msg := range [][]byte{reply(header, &q, dnsmessage.RCodeServerFailure), replyTruncated(header, q)} {
			if msg != nil && judge(msg, query, q) == errForeign {
				t.Errorf("our own answer %x does not fit the query %x", msg, query)
			}
		}
	})
}
