// Package payload carries the upstream programs inside the berth binary and puts
// them on disk when they are first needed.
//
// The payload is a manifest.json and one zstd-compressed tar archive a component,
// embedded from the directory files. The manifest lists every file with its mode,
// size and SHA-256; its own SHA-256 names the payload and the directory that it is
// extracted to. Extraction is: lock, temporary directory beside, write and verify,
// sync, rename. A stamp beside the directory records what lstat said of each file,
// so that later starts notice a change without reading 300 MB.
//
// Sizes are bytes; paths in the manifest are slash-separated and relative to the
// extracted directory. The package must not know what an engine is, nor run any of
// the programs.
package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// manifestName is the manifest's file name within the payload's file system.
const manifestName = "manifest.json"

// digestLen is how many hex digits of the manifest's SHA-256 name a payload: 128 bits.
const digestLen = 32

// Payload is the set of programs that one berth binary carries. It is safe for
// concurrent use.
type Payload struct {
	fsys      fs.FS
	digest    string
	raw       []byte
	installed string // the directory of a tree that needs no extraction; empty for none
	manifest  func() (*Manifest, error)
}

// Open returns the payload whose manifest.json and archives are in fsys. It hashes
// the manifest but parses it only when something needs its content, because every
// start of berth comes through here. Without a manifest the error is ErrNotBuilt.
func Open(fsys fs.FS) (*Payload, error) {
	raw, err := fs.ReadFile(fsys, manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	if err != nil {
		return nil, fmt.Errorf("payload: read the manifest: %w", err)
	}
	sum := sha256.Sum256(raw)
	return &Payload{
		fsys:     fsys,
		digest:   hex.EncodeToString(sum[:])[:digestLen],
		raw:      raw,
		manifest: sync.OnceValues(func() (*Manifest, error) { return ParseManifest(raw) }),
	}, nil
}

// Digest names the payload's content: 32 lower-case hex digits of the manifest's
// SHA-256. It is also the name of the directory that Extract makes.
func (p *Payload) Digest() string { return p.digest }

// Manifest returns the parsed manifest, which the caller must not change.
func (p *Payload) Manifest() (*Manifest, error) { return p.manifest() }

// RawManifest returns the manifest as the digest was taken of it; it must not be changed.
func (p *Payload) RawManifest() []byte { return p.raw }

// Components lists the payload's components in the manifest's order.
func (p *Payload) Components() ([]Component, error) {
	m, err := p.manifest()
	if err != nil {
		return nil, err
	}
	return m.Components, nil
}

// Versions maps each program or package of the payload to its version.
func (p *Payload) Versions() (map[string]string, error) {
	m, err := p.manifest()
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string)
	for _, c := range m.Components {
		for _, pkg := range c.Packages {
			versions[pkg.Name] = pkg.Version
		}
	}
	return versions, nil
}
