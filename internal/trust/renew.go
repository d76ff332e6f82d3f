package trust

import (
	"crypto/tls"
	"sync"
	"time"
)

// renewed is a server's certificate that is replaced when a third of its life is left.
type renewed struct {
	authority *Authority
	names     []string

	mu      sync.Mutex
	current *tls.Certificate
}

func (r *renewed) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && time.Until(r.current.Leaf.NotAfter) > leafLife/3 {
		return r.current, nil
	}
	cert, err := r.authority.Issue(r.names)
	if err != nil {
		return nil, err
	}
	r.current = cert
	return cert, nil
}
