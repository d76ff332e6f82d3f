package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/netns"
)

const (
	// mirrorPort is where an engine reaches this machine's mirror: a port that no usual
	// service has, below those that the kernel gives out.
	mirrorPort = 19519
	// maxMirrorConns bounds the connections of one engine to the mirror.
	maxMirrorConns = 256
	dialMirror     = 2 * time.Second
	acceptAgain    = 100 * time.Millisecond
)

// findMirror is the address of the mirror that the engine is to pull through, as the engine
// reaches it, or "". An engine without a network is not given a way out that nobody asked for.
func (l *launch) findMirror() (string, error) {
	wanted := l.info.Spec.Trust.Mirror
	if wanted == MirrorAuto && l.info.Spec.Trust.MirrorOnly {
		wanted = MirrorLocal
	}
	switch {
	case wanted == MirrorOff, wanted == MirrorAuto && l.info.Spec.Network.Driver == NetworkNone:
		return "", nil
	case wanted != MirrorAuto && wanted != MirrorLocal:
		return strings.TrimSuffix(wanted, "/"), nil
	}
	conn, err := net.DialTimeout("unix", l.m.paths.MirrorSocket(), dialMirror)
	if err == nil {
		conn.Close()
		l.relay = true
		return fmt.Sprintf("http://127.0.0.1:%d", mirrorPort), nil
	}
	if wanted == MirrorLocal {
		return "", errors.New("no mirror is running on this machine; start one with `berth mirror serve`, or leave out --mirror local and --mirror-only")
	}
	return "", nil
}

// mirrorRelay passes connections from inside an engine on to the mirror's socket. It knows
// nothing of what is said.
type mirrorRelay struct {
	socket    string
	listeners []net.Listener
	slots     chan struct{}
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// serveMirror lets the engine reach this machine's mirror: dockerd on its loopback address,
// a builder in a container on the engine's own.
func (mon *monitor) serveMirror(rec *network.Record) error {
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	if rec.EngineIP.IsValid() {
		addrs = append(addrs, rec.EngineIP)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &mirrorRelay{socket: mon.m.paths.MirrorSocket(), slots: make(chan struct{}, maxMirrorConns), cancel: cancel}
	err := netns.Do(mon.netns, func() error {
		for _, a := range addrs {
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, mirrorPort)))
			if err != nil {
				return fmt.Errorf("listen for the mirror's clients in the engine: %w", err)
			}
			r.listeners = append(r.listeners, l)
		}
		return nil
	})
	if err != nil {
		r.close()
		return err
	}
	for _, l := range r.listeners {
		r.wg.Go(func() { r.accept(ctx, l) })
	}
	mon.mirror = r
	return nil
}

func (r *mirrorRelay) accept(ctx context.Context, l net.Listener) {
	for {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := l.Accept()
		if err != nil {
			<-r.slots
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			// No more descriptors or memory, mostly: others have to give some back first.
			select {
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
			continue
		}
		r.wg.Go(func() {
			r.relay(ctx, conn)
			<-r.slots
		})
	}
}

// relay joins one connection with one to the mirror. That there is no mirror any more shows
// as a closed connection, and dockerd goes to the registry itself.
func (r *mirrorRelay) relay(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{Timeout: dialMirror}).DialContext(ctx, "unix", r.socket)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.UnixConn).CloseWrite()
	})
	_, _ = io.Copy(client, server)
	client.Close()
	wg.Wait()
}

func (r *mirrorRelay) close() {
	r.cancel()
	for _, l := range r.listeners {
		l.Close()
	}
	r.wg.Wait()
}
