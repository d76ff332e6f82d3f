package leak

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// mounts lists mount points with what is mounted; numbers are left out, as they
// change when the kernel gives them out again.
func mounts(s Scope) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 6 {
			continue
		}
		text := fmt.Sprintf("%s at %s from %s (%s)", strings.Join(strings.Fields(after)[:2], " "), fields[4], fields[3], fields[5])
		if s.marked(text) {
			out = append(out, text)
		}
	}
	return out, nil
}

func cgroups(s Scope) ([]string, error) {
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && s.marked(path) {
			out = append(out, path)
		}
		return nil // what vanished meanwhile is not there
	})
	return out, err
}

func files(s Scope) ([]string, error) {
	var out []string
	for _, root := range s.Files {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			for _, skip := range s.Skip {
				if path == skip || strings.HasPrefix(path, skip+"/") {
					return skipped(d)
				}
			}
			if text, ok := describe(path, d); ok {
				out = append(out, text)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func skipped(d fs.DirEntry) error {
	if d.IsDir() {
		return filepath.SkipDir
	}
	return nil
}

func describe(path string, d fs.DirEntry) (string, bool) {
	info, err := d.Info()
	if err != nil {
		return "", false
	}
	owner := ""
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
	}
	link, _ := os.Readlink(path)
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", path, info.Mode(), owner, link)), true
}

// loops lists loop devices that have a file behind them. They belong to no namespace: those
// of other tests, in sandboxes of their own, have files that are not to be seen here, and
// those of the machine's other users have files elsewhere.
func loops(s Scope) ([]string, error) {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, path := range backing {
		file := read(path)
		_, err := os.Stat(file)
		ours := err == nil || strings.HasSuffix(file, " (deleted)")
		elsewhere := len(s.Files) > 0 && !slices.ContainsFunc(s.Files, func(dir string) bool { return strings.HasPrefix(file, dir+"/") })
		if file != "" && ours && !elsewhere && s.marked(file) {
			out = append(out, filepath.Base(filepath.Dir(filepath.Dir(path)))+" on "+file)
		}
	}
	return out, nil
}

// settings lists what a network driver could have switched on the host.
func settings(s Scope) ([]string, error) {
	var out []string
	for _, pattern := range []string{
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/*/forwarding", "/proc/sys/net/ipv4/conf/*/rp_filter",
		"/proc/sys/net/ipv4/conf/*/route_localnet", "/proc/sys/net/ipv4/conf/*/proxy_arp", "/proc/sys/net/ipv4/conf/*/accept_local",
		"/proc/sys/net/ipv4/ip_nonlocal_bind", "/proc/sys/net/ipv6/conf/*/forwarding", "/proc/sys/net/ipv6/conf/*/accept_ra",
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/keys/maxkeys", "/proc/sys/fs/inotify/*",
		"/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/user/max_*_namespaces", "/proc/net/ip_tables_names",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if !s.All && strings.Contains(path, "/conf/veth") || strings.HasSuffix(filepath.Dir(path), "/ns") {
				continue // someone else's, coming and going
			}
			out = append(out, path+" = "+strings.ReplaceAll(read(path), "\n", " "))
		}
	}
	return out, nil
}
