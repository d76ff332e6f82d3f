// Package snapshot freezes data roots and makes forks of them.
//
// A snapshot is an engine's data root without what belongs to that engine alone. It never
// changes. Its parts are kept by how a fork comes by them:
//
//	<name>/<version>/manifest.json
//	                 data/           copied by a fork: databases, volumes, build caches in use
//	                 data/…/blobs/   hard-linked: immutable, named by digest, owned by the host's root
//	                 layers/<n>      shared as the driver can (package layers); data/ has links to them
//	                 packed.json     what blobs they are elsewhere (package artifact), as far as is known
//	                 readers         locked, shared, by those that send the snapshot elsewhere
//	.blobs/<digest>-<size>           downloads for snapshots that are being pulled
//
// Layers that came from the snapshot an engine was forked from stay there: such a snapshot
// is a base of the new one and is not removed before it.
//
// A version appears by a rename when all of it is on disk. What is being made is in
// .new/<id>/, with a lock: one that is free means that nobody is at it any more. Blobs for one
// that comes from elsewhere are links in its fetched/: others may have done with what is in
// .blobs/, or remove the snapshot that has them.
//
// The package does not know how engines are made, stopped or found. Sizes are bytes.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/snapshot/layers/copied"
	"github.com/berth-dev/berth/internal/snapshot/layers/idmapped"
	"github.com/berth-dev/berth/internal/state"
)

// Names below the store's directory.
const (
	manifestFile = "manifest.json"
	dataDir      = "data"
	ownLayers    = "layers"
	newDir       = ".new"
	lockFile     = "lock"
	lastFile     = "last"
	adoptFile    = "adopt.json"
	packedFile   = "packed.json"
	readersFile  = "readers"
	downloadsDir = ".blobs"
	fetchedDir   = "fetched"
)

// Store is the snapshots below one state directory. Any number of processes may use it.
type Store struct {
	paths   state.Paths
	log     *slog.Logger
	drivers []layers.Driver
	// After is called after each step of Freeze, with its name, so that tests can see what a
	// crash or an error there leaves. nil: it is not.
	After func(step string) error
}

func (s *Store) after(step string) error {
	if s.After == nil {
		return nil
	}
	return s.After(step)
}

// Open returns the store; it touches nothing. The ways of sharing are tried in the order
// in which they are best.
func Open(paths state.Paths, log *slog.Logger) *Store {
	return &Store{paths: paths, log: log, drivers: []layers.Driver{
		idmapped.Driver{}, copied.Driver{Reflink: true}, copied.Driver{},
	}}
}

func (s *Store) dir() string                { return s.paths.Snapshots() }
func (s *Store) nameDir(name string) string { return filepath.Join(s.dir(), name) }
func (s *Store) versionDir(name string, n int) string {
	return filepath.Join(s.nameDir(name), strconv.Itoa(n))
}
func (s *Store) newDir(id string) string { return filepath.Join(s.dir(), newDir, id) }

// Dir is where a snapshot is on this machine.
func (s *Store) Dir(m *Manifest) string { return s.versionDir(m.Name, m.Version) }

// lock keeps others from publishing, removing and collecting while f runs.
func (s *Store) lock(ctx context.Context, f func() error) error {
	for _, name := range []string{newDir, downloadsDir} {
		if err := os.MkdirAll(filepath.Join(s.dir(), name), 0o700); err != nil {
			return fmt.Errorf("make the directory of snapshots: %w", err)
		}
	}
	lock, err := linux.Lock(ctx, filepath.Join(s.dir(), lockFile))
	if err != nil {
		return fmt.Errorf("wait for other snapshots: %w", err)
	}
	defer lock.Close()
	return f()
}

// List returns all snapshots, by name and version. One that cannot be read is logged and
// left out.
func (s *Store) List(ctx context.Context) ([]Manifest, error) {
	all, err := s.all(ctx)
	return slices.DeleteFunc(all, func(m Manifest) bool { return m.Retired }), err
}

// all lists retired ones as well.
func (s *Store) all(ctx context.Context) ([]Manifest, error) {
	names, err := os.ReadDir(s.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []Manifest
	for _, e := range names {
		if !e.IsDir() || !state.NamePattern().MatchString(e.Name()) {
			continue
		}
		versions, err := s.versions(e.Name())
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			m, err := readManifest(s.versionDir(e.Name(), v))
			if errors.Is(err, ErrNotFound) {
				continue // gone meanwhile
			}
			if err != nil {
				s.log.Warn("read snapshot", "snapshot", Ref{e.Name(), v}.String(), "error", err)
				continue
			}
			out = append(out, *m)
		}
	}
	return out, nil
}

// versions lists a snapshot's versions, oldest first.
func (s *Store) versions(name string) ([]int, error) {
	entries, err := os.ReadDir(s.nameDir(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list versions of snapshot %s: %w", name, err)
	}
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Find returns the manifest of a snapshot; [ErrNotFound] when there is none.
func (s *Store) Find(ref Ref) (*Manifest, error) {
	versions, err := s.versions(ref.Name)
	if err != nil {
		return nil, err
	}
	latest := 0
	for _, v := range slices.Backward(versions) {
		if ref.Version != 0 && v != ref.Version && latest != 0 {
			continue
		}
		m, err := readManifest(s.versionDir(ref.Name, v))
		switch {
		case err != nil && (ref.Version == 0 || v == ref.Version):
			return nil, err
		case err != nil || m.Retired:
			continue
		case ref.Version == 0 || v == ref.Version:
			return m, nil
		}
		latest = v
	}
	if latest == 0 {
		return nil, fmt.Errorf("%w: %s; `berth snapshot ls` shows those there are", ErrNotFound, ref.Name)
	}
	return nil, fmt.Errorf("%w: %s; the latest version is %s@%d", ErrNotFound, ref, ref.Name, latest)
}
