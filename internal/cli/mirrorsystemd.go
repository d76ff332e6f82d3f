package cli

import (
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// handed are the listeners that systemd has made for the mirror: they are there before it, and
// stay when it is restarted (systemd.socket(5), sd_listen_fds(3)).
type handed []net.Listener

// handedOver takes the listeners that this process was started with, if any, and makes sure that no
// program that it starts has them too.
func handedOver() (given handed, err error) {
	for _, f := range activation.Files(true) {
		l, lerr := net.FileListener(f)
		f.Close()
		if lerr != nil {
			given.close()
			return nil, fmt.Errorf("systemd's socket %s: want ListenStream=: %w", f.Name(), lerr)
		}
		given = append(given, l)
	}
	return given, nil
}

func (h handed) index(address string) int {
	return slices.IndexFunc(h, func(l net.Listener) bool { return l.Addr().String() == address })
}

// has tells whether there is a listener on an address.
func (h handed) has(address string) bool { return h.index(address) >= 0 }

// take returns the listener on an address, which is the caller's then, or nil.
func (h *handed) take(address string) net.Listener {
	i := h.index(address)
	if i < 0 {
		return nil
	}
	l := (*h)[i]
	*h = slices.Delete(*h, i, i+1)
	return l
}

// takePrivate is take for a unix socket that only its owner may use.
func (h *handed) takePrivate(path string) (net.Listener, error) {
	l := h.take(path)
	if l == nil {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("systemd's socket %s is open to others (%v); set SocketMode=0600", path, info.Mode().Perm())
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// with adds to the addresses to listen on those of the TCP sockets that are there.
func (h handed) with(addresses []string) []string {
	addresses = slices.Clone(addresses)
	for _, l := range h {
		if a := l.Addr(); a.Network() == "tcp" && !slices.Contains(addresses, a.String()) {
			addresses = append(addresses, a.String())
		}
	}
	return addresses
}

// unused closes what nobody took, and says what that is.
func (h handed) unused() error {
	if len(h) == 0 {
		return nil
	}
	h.close()
	return fmt.Errorf("systemd's socket %s is none of the mirror's; see deploy/systemd/berth-mirror.socket", h[0].Addr())
}

func (h handed) close() {
	for _, l := range h {
		l.Close()
	}
}

// tellReady tells systemd that the mirror serves, where it waits for that (Type=notify).
func tellReady() error {
	if _, err := daemon.SdNotify(true, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd that the mirror is ready: %w", err)
	}
	return nil
}
