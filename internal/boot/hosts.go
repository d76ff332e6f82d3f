package boot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/berth-dev/berth/internal/linux"
)

// defaultSocket is where everybody looks for Docker.
const defaultSocket = "unix:///var/run/docker.sock"

// listeners are the sockets on which clients reach the engine. They are made here, in the
// container's network namespace and before the engine, so that a client that comes early
// waits instead of failing. dockerd inherits them.
type listeners struct {
	files []*os.File
	unix  string // path of the first unix socket
}

func (l *listeners) close() {
	for _, f := range l.files {
		f.Close()
	}
}

func listen(hosts []string, group string) (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, h := range hosts {
		f, err := l.add(h, group)
		if err != nil {
			return nil, fmt.Errorf("listen at --host %s: %w", h, err)
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

func (l *listeners) add(host, group string) (*os.File, error) {
	proto, addr, ok := strings.Cut(host, "://")
	switch {
	case ok && proto == "unix":
		if l.unix == "" {
			l.unix = addr
		}
		return listenUnix(addr, group)
	case ok && proto == "tcp":
		return listenTCP(addr)
	case ok && proto == "fd":
		return nil, errors.New("the container has no socket to hand on; use unix:// or tcp://")
	}
	return nil, errors.New("use unix://PATH or tcp://ADDRESS:PORT")
}

func listenUnix(path, group string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// What a killed container left; nobody else is in this container yet.
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := linux.ListenUnix(path, 0o600)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	if err := os.Lchown(path, 0, groupID(group)); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, err
	}
	return ln.File()
}

// groupID is a group's number, or root's when there is no such group, as dockerd has it.
func groupID(group string) int {
	if n, err := strconv.Atoi(group); err == nil {
		return n
	}
	groups, err := user.ParseGroupFileFilter("/etc/group", func(g user.Group) bool { return g.Name == group })
	if err != nil || len(groups) == 0 {
		return 0
	}
	return groups[0].Gid
}

func listenTCP(addr string) (*os.File, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if ip := net.ParseIP(host); ip != nil && ip.To4() != nil {
		network = "tcp4"
	}
	ln, err := net.Listen(network, net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	return ln.(*net.TCPListener).File()
}
