// Package certsd makes the directory certs.d, where dockerd looks up whom to trust for a
// registry, and which mirrors to ask before it: certificates as Docker has them
// (https://docs.docker.com/engine/security/certificates/) and hosts.toml as containerd does
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
//
// dockerd takes a registry's own directory or, if there is none, _default. What holds for all
// registries is therefore said again for each that has a directory. The package writes
// nothing: a [Tree] is text.
package certsd

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Dir is where dockerd looks for it.
const Dir = "/etc/docker/certs.d"

const (
	hub       = "docker.io"
	fallback  = "_default" // of registries without a directory
	hostsFile = "hosts.toml"
	note      = "README" // in the directory of a registry that is left to dockerd's own settings
)

// Settings are what a tree is made of.
type Settings struct {
	// User is a tree that somebody has made, or nil. What it has wins.
	User Tree
	// CAs are authorities (PEM) by registry.
	CAs []CA
	// Mirror is the URL of a mirror of all registries, or empty.
	Mirror string
	// MirrorOnly keeps dockerd from asking a registry for what the mirror does not give. It
	// then pushes to those registries alone that have a directory.
	MirrorOnly bool
	// HubMirrors and Insecure are dockerd's own settings registry-mirrors and
	// insecure-registries, which keep their meaning.
	HubMirrors, Insecure []string
}

// CA is an authority to trust for one registry.
type CA struct {
	Host string // host or host:port
	PEM  string
}

// Tree is a directory certs.d: text by registry and name of a file.
type Tree map[string]map[string]string

// Make puts a tree together. The text of an authority is not looked at.
func Make(s Settings) Tree {
	t := Tree{}
	for host, files := range s.User {
		for name, text := range files {
			t.add(host, name, text)
		}
	}
	for _, ca := range s.CAs {
		t.add(ca.Host, "ca.crt", ca.PEM)
	}
	t.useHubMirrors(s.HubMirrors, s.Insecure)
	if s.Mirror != "" {
		t.useMirror(strings.TrimSuffix(s.Mirror, "/"), s)
	}
	return t
}

// add puts a file in its place, unless there is one.
func (t Tree) add(host, name, text string) {
	if t[host] == nil {
		t[host] = map[string]string{}
	}
	if _, there := t[host][name]; !there {
		t[host][name] = text
	}
}

// Named lists a registry's files with an ending, such as ".crt".
func (t Tree) Named(registry, ending string) []string {
	names := slices.Sorted(maps.Keys(t[registry]))
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ending) })
}

// Own reports whether a registry is left to dockerd's own settings, whatever the mirror.
func (t Tree) Own(registry string) bool {
	_, ok := t[registry][note]
	return ok
}

// Trusted is the text of all authorities that the tree has for a registry.
func (t Tree) Trusted(registry string) string {
	var b strings.Builder
	for _, name := range t.Named(registry, ".crt") {
		fmt.Fprintln(&b, strings.TrimSuffix(t[registry][name], "\n"))
	}
	return b.String()
}

// File is one of a tree's.
type File struct {
	Path string // absolute
	Mode fs.FileMode
	Text string
}

// Files are all of them, in order, below [Dir].
func (t Tree) Files() []File {
	var out []File
	for _, host := range slices.Sorted(maps.Keys(t)) {
		for _, name := range slices.Sorted(maps.Keys(t[host])) {
			mode := fs.FileMode(0o644)
			if path.Ext(name) == ".key" {
				mode = 0o600
			}
			out = append(out, File{path.Join(Dir, host, name), mode, t[host][name]})
		}
	}
	return out
}
