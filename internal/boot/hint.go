package boot

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	plainPort = "2375"
	tlsPort   = "2376"
)

// hints answers at the port without TLS, where nothing is to be had when the engine is served
// with it, how to reach the engine. Clients that were told the wrong port hear what is wrong,
// and CI systems that try the lowest port of an image before a job do not wait in vain.
type hints struct{ ln net.Listener }

// wantsHints reports whether the API is served with TLS at the usual port, and at no other.
func (p *plan) wantsHints() bool {
	return p.tls != nil && !p.byHand && !slices.ContainsFunc(p.hosts, func(h string) bool { return strings.HasSuffix(h, ":"+plainPort) })
}

// serveHints returns nil when the port is somebody else's already.
func serveHints(certs string, log *slog.Logger) *hints {
	ln, err := net.Listen("tcp4", "0.0.0.0:"+plainPort)
	if err != nil {
		return nil
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": hint(r.Host, certs)}) // as the Docker API has errors
		}),
	}
	go func() { _ = server.Serve(ln) }()
	return &hints{ln}
}

func hint(asked, certs string) string {
	host, _, err := net.SplitHostPort(asked)
	if err != nil || host == "" {
		host = "docker"
	}
	return fmt.Sprintf("this engine is served with TLS, at port %s: set DOCKER_HOST=tcp://%s:%s DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=%s/client and share %s/client with the client, or start the engine with DOCKER_TLS_CERTDIR= to do without TLS",
		tlsPort, host, tlsPort, certs, certs)
}

// close frees the port. It returns false if that has been done.
func (h *hints) close() bool { return h != nil && h.ln.Close() == nil }
