package payload

import "path/filepath"

// Tree is a payload on disk. Its files must not be written to.
type Tree struct {
	// Dir is the extracted directory, an absolute path when Extract was given one.
	Dir string
	// Digest is the payload's digest.
	Digest string
}

// Rootfs is the directory that holds the engine's usr.
func (t *Tree) Rootfs() string { return filepath.Join(t.Dir, "rootfs") }

// HostBin is a directory for the host's PATH: it holds docker and nothing else.
func (t *Tree) HostBin() string { return filepath.Join(t.Dir, "host", "bin") }

// Docker is the docker CLI, static, with buildx and compose beside it where it finds
// them by itself.
func (t *Tree) Docker() string { return filepath.Join(t.HostBin(), "docker") }

// Runc is the OCI runtime, static, for use on the host.
func (t *Tree) Runc() string { return t.File("usr/bin/runc") }

// File is the host's path of a file of the engine's root file system, e.g.
// File("usr/sbin/berth-init").
func (t *Tree) File(name string) string { return filepath.Join(t.Rootfs(), filepath.FromSlash(name)) }
