// Package leak photographs everything that berth could leave behind on a
// machine, and says what differs between two photographs.
//
// A snapshot holds, as sorted lines of text: processes, mounts, namespaces,
// cgroups, interfaces, addresses, routes, nft tables with their chains, sets
// and rules, forwarding settings, loop devices and files. With [Scope].All it
// holds all there is, which suits a test's own namespaces; without, only what
// bears berth's marks, so that other users of the machine do not disturb.
//
// The package does not run berth and must not change anything.
package leak

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Scope says where to look.
type Scope struct {
	All   bool     // everything, not only what bears berth's marks
	Files []string // directories whose contents belong to the snapshot
	Skip  []string // path prefixes below them that do not (the payload)
	Marks []string // substrings which tell that something is berth's
}

// Host is the scope for a machine with other users: the marks of a berth with
// the directories run and state.
func Host(run, state string) Scope {
	return Scope{
		Files: []string{run, state},
		Skip:  []string{state + "/payload"},
		Marks: []string{run + "/", state + "/", "berth"},
	}
}

// Snapshot is what was there at one moment: for each kind of thing the set of
// its descriptions.
type Snapshot map[string]map[string]bool

// Take makes a snapshot. Things that vanish while it looks are left out.
//
// Errors: /proc, netlink or a directory of the scope cannot be read.
func Take(scope Scope) (Snapshot, error) {
	s := Snapshot{}
	for _, look := range []struct {
		kind string
		list func(Scope) ([]string, error)
	}{
		{"process", processes},
		{"mount", mounts},
		{"namespace", namespaces},
		{"cgroup", cgroups},
		{"network", network},
		{"nft", ruleset},
		{"setting", settings},
		{"loop device", loops},
		{"file", files},
	} {
		lines, err := look.list(scope)
		if err != nil {
			return nil, fmt.Errorf("leak guard, %s: %w", look.kind, err)
		}
		s[look.kind] = make(map[string]bool, len(lines))
		for _, line := range lines {
			s[look.kind][line] = true
		}
	}
	return s, nil
}

// Compare lists what differs, a line each: "+ kind: thing" for what is new,
// "- kind: thing" for what is missing.
func Compare(before, after Snapshot) []string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		for _, thing := range slices.Sorted(maps.Keys(after[kind])) {
			if !before[kind][thing] {
				out = append(out, "+ "+kind+": "+thing)
			}
		}
		for _, thing := range slices.Sorted(maps.Keys(before[kind])) {
			if !after[kind][thing] {
				out = append(out, "- "+kind+": "+thing)
			}
		}
	}
	return out
}

// marked tells whether text bears one of the scope's marks.
func (s Scope) marked(text string) bool {
	return s.All || slices.ContainsFunc(s.Marks, func(mark string) bool { return strings.Contains(text, mark) })
}

// read is a small file's text without the last line end; empty when it is gone.
func read(path string) string {
	data, _ := os.ReadFile(path)
	return strings.TrimRight(string(data), "\n\x00")
}
