// Package resolvconf reads the name servers out of a resolv.conf (resolv.conf(5)), and, for
// those who resolve names in its owner's stead, the search list and options.
package resolvconf

import (
	"errors"
	"net/netip"
	"os"
	"strings"
)

// Path is where every libc looks.
const Path = "/etc/resolv.conf"

// maxSize bounds what is read of a file, in bytes; libc reads whole files, but 3 servers.
const maxSize = 1 << 20

// ErrTooBig says that a file cannot be a resolv.conf.
var ErrTooBig = errors.New("resolv.conf is larger than 1 MiB: point it at a real one")

// Read returns the name servers of the file at path, in order. A file without one, and a
// file that does not exist, mean the server on this host, as resolv.conf(5) says.
func Read(path string) ([]netip.Addr, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(data), nil
}

// Rest returns the lines of the file at path that say how names are looked up: search and
// options. A file that does not exist has none.
func Rest(path string) (string, error) {
	data, err := read(path)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && (fields[0] == "search" || fields[0] == "options") {
			b.WriteString(strings.Join(fields, " ") + "\n")
		}
	}
	return b.String(), nil
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSize {
		return nil, ErrTooBig
	}
	return os.ReadFile(path)
}

// Parse returns the name servers in data, in order and each once; lines that are not
// understood are skipped, as libc does.
func Parse(data []byte) []netip.Addr {
	var servers []netip.Addr
	seen := map[netip.Addr]bool{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue
		}
		if addr = addr.Unmap(); !seen[addr] {
			seen[addr] = true
			servers = append(servers, addr)
		}
	}
	if len(servers) == 0 {
		servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return servers
}

// Loopback returns those of servers that are reached through the loopback interface: in
// another network namespace the same address leads nowhere.
func Loopback(servers []netip.Addr) []netip.Addr {
	return filter(servers, netip.Addr.IsLoopback)
}

// Remote returns the servers that are not [Loopback].
func Remote(servers []netip.Addr) []netip.Addr {
	return filter(servers, func(a netip.Addr) bool { return !a.IsLoopback() })
}

func filter(servers []netip.Addr, keep func(netip.Addr) bool) []netip.Addr {
	var kept []netip.Addr
	for _, s := range servers {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}
