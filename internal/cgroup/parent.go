package cgroup

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ParentOwn as a parent stands for the group that the caller is in.
const ParentOwn = "own"

// CheckParent finds fault with the form of what [Parent] is given.
func CheckParent(asked string) error {
	switch {
	case asked == "" || asked == ParentOwn:
		return nil
	case !path.IsAbs(asked) || path.Clean(asked) != asked || asked == "/":
		return fmt.Errorf("%q is neither %s nor the clean, absolute path of a control group, such as /ci.slice", asked, ParentOwn)
	}
	return nil
}

// Parent returns the group below which an engine's is made, as [Prepare] takes it: the one
// at a path that is there already; for [ParentOwn] the caller's own; empty for none.
//
// On cgroup v2 a group at a path must be without processes (cgroups(7), "no internal
// processes" rule). Those of the caller's own are moved to a leaf by [Prepare]; where
// systemd runs the machine, that group must have been delegated (systemd.resource-control(5),
// Delegate=). On v1, where the caller is in a group of each hierarchy, the own one is none.
func Parent(asked string) (string, error) {
	if err := CheckParent(asked); err != nil || asked == "" {
		return "", err
	}
	found, err := current().parent(asked)
	if err != nil {
		return "", fmt.Errorf("control group %s: %w", asked, err)
	}
	return found, nil
}

func (v1) parent(asked string) (string, error) {
	if asked == ParentOwn {
		return "", nil
	}
	g, err := Open(asked)
	if err != nil {
		return "", err
	}
	for _, dir := range g.m.GetPaths() {
		if _, err := os.Stat(dir); err != nil {
			return "", fmt.Errorf("%w; make it in every hierarchy first", err)
		}
	}
	return asked, nil
}

func (v v2) parent(asked string) (string, error) {
	if asked != ParentOwn {
		return asked, v.vacant(asked)
	}
	own, err := Own()
	if err != nil || own == "" {
		return "", err
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil && !v.delegated(own) { // sd_booted(3)
		return "", fmt.Errorf("systemd has not delegated %s; start berth from a unit with Delegate=yes", own)
	}
	return own, nil
}

// vacant checks that groups with limits can be made below the one at path.
func (v v2) vacant(path string) error {
	procs, err := os.ReadFile(filepath.Join(v.root, path, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("%w; make it first", err)
	}
	if n := len(strings.Fields(string(procs))); n > 0 {
		return fmt.Errorf("it has %d processes of its own, so that groups below it cannot have limits; name one without", n)
	}
	return nil
}

// delegated tells whether systemd has given away the group, or one above it: it marks those
// by an extended attribute (systemd.resource-control(5), Delegate=; trusted before version 251).
func (v v2) delegated(group string) bool {
	for ; group != "/" && group != "."; group = path.Dir(group) {
		for _, name := range []string{"user.delegate", "trusted.delegate"} {
			value := make([]byte, 8)
			n, err := unix.Getxattr(filepath.Join(v.root, group), name, value)
			if err == nil && string(value[:n]) == "1" {
				return true
			}
		}
	}
	return false
}
