package veth

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Settings below /proc/sys (ip-sysctl.rst in the kernel's documentation). Writing
// net/ipv4/ip_forward would change every interface, so it is only read.
const (
	procSys   = "/proc/sys/"
	ipForward = "net/ipv4/ip_forward"
)

func forwarding(link string) string { return "net/ipv4/conf/" + link + "/forwarding" }

// noteOff is the note for an interface whose forwarding was off on a host that did not
// forward at all.
const noteOff = "ip_forward=0"

// openUplinks switches forwarding on for the interfaces where it is off, after it has noted
// that in the table.
func openUplinks(c *nftables.Conn, r *ruleset, names []string) error {
	global, err := get(ipForward)
	if err != nil {
		return err
	}
	if global == "1" {
		if err := forgetUplinks(c, r); err != nil {
			return err
		}
	}
	for _, name := range names {
		on, err := get(forwarding(name))
		if notThere(err) || on == "1" {
			continue
		}
		if err != nil {
			return err
		}
		note := r.uplink(name, "ip_forward="+global)
		if err := c.SetAddElements(r.uplinks, []nftables.SetElement{note}); err != nil {
			return err
		}
		if err := c.Flush(); err != nil {
			return fmt.Errorf("note in nftables table inet %s that forwarding of %s was off: %w", tableName, name, err)
		}
		if err := set(forwarding(name), "1"); err != nil && !notThere(err) {
			return err
		}
	}
	return nil
}

// forgetUplinks drops the notes, and with them the bounds on forwarding, of interfaces that
// somebody else has made forward meanwhile by switching it on for the whole host.
func forgetUplinks(c *nftables.Conn, r *ruleset) error {
	notes, err := c.GetSetElements(r.uplinks)
	if err != nil {
		return fmt.Errorf("read nftables table inet %s: %w", tableName, err)
	}
	notes = slices.DeleteFunc(notes, func(n nftables.SetElement) bool { return n.Comment != noteOff })
	if len(notes) == 0 {
		return nil
	}
	if err := c.SetDeleteElements(r.uplinks, bare(notes)); err != nil {
		return err
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("give up the bounds on forwarding in nftables table inet %s: %w", tableName, err)
	}
	return nil
}

// bare are elements by their key alone, as needed to delete them.
func bare(elements []nftables.SetElement) []nftables.SetElement {
	keys := make([]nftables.SetElement, len(elements))
	for i, e := range elements {
		keys[i].Key = e.Key
	}
	return keys
}

// closeUplinks puts forwarding back for the interfaces that notes tell of. Where somebody
// switched forwarding on for the whole host meanwhile, as a Docker that starts does, it
// would be on without berth, and stays.
func closeUplinks(notes []nftables.SetElement) error {
	if len(notes) == 0 {
		return nil
	}
	global, err := get(ipForward)
	if err != nil {
		return err
	}
	for _, note := range notes {
		if global == "1" && note.Comment == noteOff {
			continue
		}
		if err := set(forwarding(ifnameOf(note.Key)), "0"); err != nil && !notThere(err) {
			return err
		}
	}
	return nil
}

// setHostSettings prepares the host's side of a pair. The rules already check senders, so
// rp_filter is a second line; IPv6 is not connected.
func setHostSettings(link string) error {
	if err := set(forwarding(link), "1"); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"net/ipv4/conf/" + link + "/rp_filter":        "1",
		"net/ipv4/conf/" + link + "/accept_redirects": "0",
		"net/ipv4/conf/" + link + "/send_redirects":   "0",
		"net/ipv6/conf/" + link + "/accept_ra":        "0",
		"net/ipv6/conf/" + link + "/disable_ipv6":     "1",
	} {
		if err := setOptional(name, value); err != nil {
			return err
		}
	}
	return nil
}

// get reads a setting of the calling thread's network namespace.
func get(name string) (string, error) {
	value, err := os.ReadFile(procSys + name)
	if err != nil {
		return "", fmt.Errorf("read kernel setting: %w", err)
	}
	return strings.TrimSpace(string(value)), nil
}

// set writes a setting, unless it has the value already: /proc/sys is read-only in many
// containers, where the right values are often there.
func set(name, value string) error {
	if old, err := get(name); err != nil || old == value {
		return err
	}
	// Not os.WriteFile: nothing may be made here, and there is nothing to truncate.
	f, err := os.OpenFile(procSys+name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("set %s to %s: /proc/sys is read-only here: make it writable, or set this before: %w", name, value, err)
	}
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}

// setOptional is set for what is better to have, but not needed: it does without where the
// kernel has no such setting or does not let us write it.
func setOptional(name, value string) error {
	err := set(name, value)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	return err
}
