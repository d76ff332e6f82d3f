package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// ManifestVersion is the format that this package reads and the builder writes.
const ManifestVersion = 1

// Manifest describes a payload.
type Manifest struct {
	Version    int         `json:"version"`
	Platform   string      `json:"platform"` // GOOS/GOARCH
	Components []Component `json:"components"`
}

// Component is one archive: what it was made from and what is in it.
type Component struct {
	Name     string    `json:"name"`
	Archive  string    `json:"archive"` // file name beside the manifest
	Size     int64     `json:"size"`    // of the archive, bytes
	Packages []Package `json:"packages"`
	Files    []File    `json:"files"`
}

// Package is an upstream program or a distribution's package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Licence string `json:"licence,omitempty"` // SPDX expression where it is known
	PURL    string `json:"purl,omitempty"`    // package URL, github.com/package-url/purl-spec
}

// File is one regular file or symbolic link.
type File struct {
	Path   string `json:"path"`
	Mode   Mode   `json:"mode,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // lower-case hex; empty for a link
	Link   string `json:"link,omitempty"`   // the target, relative to the link's directory
}

// Mode is a file's permission bits, written in JSON as octal text.
type Mode uint32

// MarshalText writes the mode as four octal digits.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// UnmarshalText reads octal digits.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil {
		return fmt.Errorf("mode %q is not octal", text)
	}
	*m = Mode(n)
	return nil
}

// ParseManifest reads and checks a manifest. What it accepts is safe to extract: no
// path leaves the tree, none goes through a link, no mode is setuid or writable by
// others.
func ParseManifest(raw []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, &CorruptError{What: manifestName, Err: err}
	}
	if err := m.check(); err != nil {
		return nil, &CorruptError{What: manifestName, Err: err}
	}
	return &m, nil
}

func (m *Manifest) check() error {
	if m.Version != ManifestVersion {
		return fmt.Errorf("version %d, want %d", m.Version, ManifestVersion)
	}
	seen := make(map[string]bool)
	archives := make(map[string]bool)
	for _, c := range m.Components {
		if !cleanPath(c.Archive) || strings.Contains(c.Archive, "/") || archives[c.Archive] {
			return fmt.Errorf("component %q: archive name %q", c.Name, c.Archive)
		}
		archives[c.Archive] = true
		for _, f := range c.Files {
			if err := f.check(); err != nil {
				return fmt.Errorf("component %q: file %q: %w", c.Name, f.Path, err)
			}
			if seen[f.Path] {
				return fmt.Errorf("component %q: file %q is listed twice", c.Name, f.Path)
			}
			seen[f.Path] = true
		}
	}
	for p := range seen {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("file %q lies below %q, which is not a directory", p, dir)
			}
		}
	}
	return nil
}

func (f *File) check() error {
	switch {
	case !cleanPath(f.Path):
		return errors.New("not a clean relative path")
	case f.Link != "":
		return f.checkLink()
	case f.Mode&^0o755 != 0 || f.Mode&0o400 == 0:
		return fmt.Errorf("mode %04o", uint32(f.Mode))
	case f.Size < 0:
		return fmt.Errorf("size %d", f.Size)
	case !isHex(f.SHA256, 64):
		return fmt.Errorf("SHA-256 %q", f.SHA256)
	}
	return nil
}

func (f *File) checkLink() error {
	target := path.Join(path.Dir(f.Path), f.Link)
	if path.IsAbs(f.Link) || path.Clean(f.Link) != f.Link || !cleanPath(target) || hasControl(f.Link) {
		return fmt.Errorf("link to %q leaves the tree", f.Link)
	}
	if f.SHA256 != "" || f.Size != 0 || f.Mode != 0 {
		return errors.New("a link with content")
	}
	return nil
}

// cleanPath reports whether p is a relative path without "..", "." or control
// characters (the stamp has one line a path).
func cleanPath(p string) bool { return p != "." && fs.ValidPath(p) && !hasControl(p) }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// files yields every file of every component.
func (m *Manifest) files(yield func(File) bool) {
	for _, c := range m.Components {
		for _, f := range c.Files {
			if !yield(f) {
				return
			}
		}
	}
}

// dirs returns the tree's directories, each with the names that belong in it. The
// tree's own directory is ".".
func (m *Manifest) dirs() map[string]map[string]bool {
	dirs := make(map[string]map[string]bool)
	for f := range m.files {
		for p := f.Path; p != "."; p = path.Dir(p) {
			dir := path.Dir(p)
			if dirs[dir] == nil {
				dirs[dir] = make(map[string]bool)
			}
			dirs[dir][path.Base(p)] = true
		}
	}
	return dirs
}

// unpacked is the size of all files together, bytes.
func (m *Manifest) unpacked() int64 {
	var total int64
	for f := range m.files {
		total += f.Size
	}
	return total
}
