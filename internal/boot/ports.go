package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/pid1"
)

// ports opens ports of the container for those that the engine's containers publish (the
// protocol is drawn in package pid1). Whoever has the socket can do that, which is no more
// than whoever uses the engine can.
type ports struct {
	path  string
	ln    *net.UnixListener
	hints *hints // give way to a container that publishes their port; may be nil
	log   *slog.Logger
}

func servePorts(path string, hints *hints, log *slog.Logger) (*ports, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Nobody but the engine comes by: the directory is in this container, and the engine's
	// root, whoever that is here, has to be able to connect.
	if err := os.Chmod(path, 0o666); err != nil {
		ln.Close()
		return nil, err
	}
	p := &ports{path, ln, hints, log}
	go p.serve()
	return p, nil
}

func (p *ports) close() {
	p.hints.close()
	p.ln.Close()
}

func (p *ports) serve() {
	for {
		conn, err := p.ln.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if err := p.answer(conn); err != nil {
				p.log.Warn("open a port of the container", "error", err)
			}
		}()
	}
}

func (p *ports) answer(conn *net.UnixConn) error {
	var req pid1.PortRequest
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return err
	}
	f, err := open(req)
	if err != nil && req.Port == plainPort && p.hints.close() {
		f, err = open(req)
	}
	if f != nil {
		defer f.Close()
	}
	reply := pid1.PortReply{Socket: f != nil}
	if err != nil {
		reply.Error = err.Error()
	}
	b, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	_, _, err = conn.WriteMsgUnix(b, rights, nil)
	return err
}

// open binds a port in the container's network namespace. It returns nothing at all for
// what this container cannot have, such as an IPv6 address where there is no IPv6.
func open(req pid1.PortRequest) (*os.File, error) {
	ip := net.ParseIP(req.IP)
	if ip == nil {
		return nil, fmt.Errorf("%q is not an IP address", req.IP)
	}
	version := "6"
	if ip.To4() != nil {
		version = "4"
	}
	addr := net.JoinHostPort(req.IP, req.Port)
	var f *os.File
	var err error
	switch req.Proto {
	case "tcp":
		f, err = openTCP("tcp"+version, addr)
	case "udp":
		f, err = openUDP("udp"+version, addr)
	default:
		return nil, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s/%s of the container is in use", req.Port, req.Proto)
	}
	if err != nil {
		return nil, nil
	}
	return f, nil
}

func openTCP(network, addr string) (*os.File, error) {
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	return ln.(*net.TCPListener).File()
}

func openUDP(network, addr string) (*os.File, error) {
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	f, err := conn.(*net.UDPConn).File()
	if err != nil {
		return nil, err
	}
	// docker-proxy answers from the address that it was asked at (ip(7), IP_PKTINFO).
	if network == "udp4" {
		err = unix.SetsockoptInt(int(f.Fd()), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	} else {
		err = unix.SetsockoptInt(int(f.Fd()), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
