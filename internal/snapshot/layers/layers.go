// Package layers says how forks come by the layers of a snapshot. A layer is a directory
// of containerd's overlayfs snapshotter; it never changes once it is committed, and holds
// nearly all the bytes of a data root.
//
// In a snapshot, and in its forks until a driver says otherwise, a layer's place in the
// snapshotter's directory is taken by a symbolic link to where its base is mounted inside
// an engine:
//
//	…/io.containerd.snapshotter.v1.overlayfs/snapshots/7 -> /var/lib/berth/layers/<base>/7
//
// Ways of sharing are drivers, each in a package of its own, and all pass one suite with
// real engines (test/snapshot). Nothing here knows engines or where snapshots are kept.
package layers

import (
	"context"
	"fmt"
	"os"
	"path"
	"regexp"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/lazyregexp"
)

// Place is the directory inside engines below which bases are mounted.
const Place = "/var/lib/berth/layers"

// Base is the layers that one snapshot brought with it.
type Base struct {
	ID       string    `json:"id"`       // of the snapshot; random, 32 hexadecimal digits
	Snapshot string    `json:"snapshot"` // NAME@VERSION, for people
	Dir      string    `json:"-"`        // on this machine
	IDs      ids.Range `json:"ids"`      // of the engine that made them: their owners on disk
}

// Path is where the base is inside an engine.
func (b Base) Path() string { return path.Join(Place, b.ID) }

// Driver is a way of giving a fork the layers of its bases.
type Driver interface {
	// Name is what users know the driver by.
	Name() string
	// Try says why the driver cannot serve a data root below dir, for an engine with the
	// ids to, or nil. It leaves nothing behind.
	Try(ctx context.Context, dir string, bases []Base, to ids.Range) error
	// Provide gives a fork its layers. snapshots is the snapshotter's directory in the
	// fork, with links for layers. It returns those bases that have to be mounted in the
	// engine, read-only and with owners shifted to the ids to. If ctx is cancelled it ends
	// early, and the fork is of no use.
	Provide(ctx context.Context, snapshots *os.File, bases []Base, to ids.Range) ([]Base, error)
}

// NamePattern returns the form of a layer's name.
var NamePattern = lazyregexp.New(`^[0-9]{1,19}$`)

var linkPattern = lazyregexp.New(`^` + regexp.QuoteMeta(Place) + `/([0-9a-f]{32})/([0-9]{1,19})$`)

// Link returns what the link of a base's layer says.
func Link(baseID, layer string) string { return path.Join(Place, baseID, layer) }

// ParseLink is the reverse of Link; ok is false for a link that berth did not make.
func ParseLink(target string) (baseID, layer string, ok bool) {
	m := linkPattern().FindStringSubmatch(target)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// Find returns the base with the id.
func Find(bases []Base, id string) (Base, error) {
	for _, b := range bases {
		if b.ID == id {
			return b, nil
		}
	}
	return Base{}, fmt.Errorf("layers of snapshot %s are missing; verify the snapshot", id)
}
