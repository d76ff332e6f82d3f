package doctor

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// existing is dir or the closest directory above it that exists.
func existing(dir string) string {
	for dir != "/" && !exists(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// subIDs is the size of a user's largest subordinate range of user ids (subuid(5)).
func subIDs(name string) int64 {
	ranges, err := user.ParseSubIDFileFilter("/etc/subuid", func(s user.SubID) bool { return s.Name == name })
	if err != nil {
		return 0
	}
	largest := int64(0)
	for _, r := range ranges {
		largest = max(largest, r.Count)
	}
	return largest
}

// openFiles is the hard limit of open files of this process (getrlimit(2)).
func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Max
}

// resolvers lists the name servers of a resolv.conf(5).
func resolvers(file string) []string {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			out = append(out, f[1])
		}
	}
	return out
}

func loopback(server string) bool {
	addr, err := netip.ParseAddr(server)
	return err == nil && addr.IsLoopback()
}
