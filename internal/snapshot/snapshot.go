// Package snapshot freezes data roots and makes forks of them.
//
// A snapshot is an engine's data root without what belongs to that engine alone. It never
// changes. Its parts are kept by how a fork comes by them:
//
//	<name>/<version>/manifest.json
//	                 data/           copied by a fork: databases, volumes, build caches in use
//	                 data/…/blobs/   hard-linked: immutable, named by digest, owned by the host's root
//	                 layers/<n>      shared as the driver can (package layers); data/ has links to them
//
// Layers that came from the snapshot an engine was forked from stay there: such a snapshot
// is a base of the new one and is not removed before it.
//
// A version appears by a rename when all of it is on disk. What is being made is in
// .new/<id>/, with a lock: one that is free means that nobody is at it any more.
//
// The package does not know how engines are made, stopped or found. Sizes are bytes.
package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

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
	if err := os.MkdirAll(filepath.Join(s.dir(), newDir), 0o700); err != nil {
		return fmt.Errorf("make the directory of snapshots: %w", err)
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
	names, err := os.ReadDir(s.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []Manifest
	for _, e := range names {
		if !e.IsDir() || !state.NamePattern.MatchString(e.Name()) {
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
	switch {
	case len(versions) == 0:
		return nil, fmt.Errorf("%w: %s; `berth snapshot ls` shows those there are", ErrNotFound, ref.Name)
	case ref.Version == 0:
		ref.Version = versions[len(versions)-1]
	case !slices.Contains(versions, ref.Version):
		return nil, fmt.Errorf("%w: %s; the latest version is %s@%d", ErrNotFound, ref, ref.Name, versions[len(versions)-1])
	}
	return readManifest(s.versionDir(ref.Name, ref.Version))
}

// Bases returns the snapshot's own layers as a base, and those it builds on, with where
// they are now.
func (s *Store) Bases(m *Manifest) ([]layers.Base, error) {
	own := layers.Base{ID: m.ID, Snapshot: m.Ref().String(), IDs: m.IDs}
	return s.Locate(append([]layers.Base{own}, m.Bases...))
}

// Locate fills in where bases are on this machine.
func (s *Store) Locate(bases []layers.Base) ([]layers.Base, error) {
	out := slices.Clone(bases)
	for i := range out {
		m, err := s.find(out[i])
		if err != nil {
			return nil, err
		}
		out[i].Snapshot, out[i].Dir = m.Ref().String(), filepath.Join(s.Dir(m), ownLayers)
	}
	return out, nil
}

// find returns the snapshot that a base belongs to.
func (s *Store) find(b layers.Base) (*Manifest, error) {
	if ref, err := ParseRef(b.Snapshot); err == nil {
		if m, err := s.Find(ref); err == nil && m.ID == b.ID {
			return m, nil
		}
	}
	all, err := s.List(context.Background())
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == b.ID {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s, whose layers are needed", ErrNotFound, b.Snapshot)
}

// Remove removes one version of a snapshot, or all if ref names none. users are the names
// of the engines that need the layers of the snapshot with an id. Nothing is removed when one is in use.
func (s *Store) Remove(ctx context.Context, ref Ref, users func(id string) []string) ([]Ref, error) {
	var removed []Ref
	err := s.lock(ctx, func() error {
		doomed, err := s.doomed(ctx, ref, users)
		if err != nil {
			return err
		}
		// The newest first: it may build on the others.
		for _, v := range slices.Backward(doomed) {
			if err := s.discard(s.versionDir(v.Name, v.Version)); err != nil {
				return fmt.Errorf("remove snapshot %s: %w", v, err)
			}
			removed = append(removed, v)
		}
		if ref.Version == 0 {
			return os.RemoveAll(s.nameDir(ref.Name)) // the number of the last version
		}
		return nil
	})
	return removed, err
}

// Tidy removes what is left of names that have no version, such as one whose first was
// never finished.
func (s *Store) Tidy(ctx context.Context) error {
	return s.lock(ctx, func() error {
		names, err := os.ReadDir(s.dir())
		errs := []error{err}
		for _, e := range names {
			if !e.IsDir() || !state.NamePattern.MatchString(e.Name()) {
				continue
			}
			dir := s.nameDir(e.Name())
			if _, err := os.Stat(filepath.Join(dir, lastFile)); err == nil {
				continue // its versions were removed one by one
			}
			if versions, err := s.versions(e.Name()); err != nil || len(versions) > 0 {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, os.RemoveAll(dir))
		}
		return errors.Join(errs...)
	})
}

// doomed lists what is to be removed, oldest first, unless somebody needs it.
func (s *Store) doomed(ctx context.Context, ref Ref, users func(id string) []string) ([]Ref, error) {
	versions, err := s.versions(ref.Name)
	if err != nil {
		return nil, err
	}
	var doomed []Ref
	for _, v := range versions {
		if ref.Version == 0 || ref.Version == v {
			doomed = append(doomed, Ref{ref.Name, v})
		}
	}
	if len(doomed) == 0 {
		return nil, fmt.Errorf("%w: %s; `berth snapshot ls` shows those there are", ErrNotFound, ref)
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if !slices.Contains(doomed, m.Ref()) {
			continue
		}
		if inUse := (&InUseError{m.Ref(), users(m.ID), builtOn(all, m.ID, doomed)}); len(inUse.Engines)+len(inUse.Snapshots) > 0 {
			return nil, inUse
		}
	}
	return doomed, nil
}

// builtOn lists the snapshots other than the doomed that have the one with the id as a base.
func builtOn(all []Manifest, id string, doomed []Ref) []string {
	var out []string
	for _, m := range all {
		if slices.Contains(doomed, m.Ref()) {
			continue
		}
		if slices.ContainsFunc(m.Bases, func(b layers.Base) bool { return b.ID == id }) {
			out = append(out, m.Ref().String())
		}
	}
	return out
}

// discard moves a directory into the trash, from where it is deleted.
func (s *Store) discard(dir string) error {
	trash := filepath.Join(s.paths.Trash(), fmt.Sprintf("snapshot-%s-%d", filepath.Base(dir), time.Now().UnixNano()))
	return os.Rename(dir, trash)
}

// publish gives a finished snapshot its version and makes it appear.
func (s *Store) publish(ctx context.Context, dir string, m *Manifest) error {
	return s.lock(ctx, func() error {
		nameDir := s.nameDir(m.Name)
		if err := os.MkdirAll(nameDir, 0o711); err != nil {
			return err
		}
		versions, err := s.versions(m.Name)
		if err != nil {
			return err
		}
		// A version is never used again: who has pinned it would get something else.
		last, _ := os.ReadFile(filepath.Join(nameDir, lastFile))
		m.Version, _ = strconv.Atoi(strings.TrimSpace(string(last)))
		if n := len(versions); n > 0 {
			m.Version = max(m.Version, versions[n-1])
		}
		m.Version++
		if err := m.write(dir); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(nameDir, lastFile), strconv.Itoa(m.Version)+"\n"); err != nil {
			return err
		}
		if err := s.after("freeze-sync"); err != nil {
			return err
		}
		published := s.versionDir(m.Name, m.Version)
		if err := os.Rename(dir, published); err != nil {
			return err
		}
		// From here on it exists, and these mean nothing any more.
		for _, name := range []string{adoptFile, lockFile} {
			if err := os.Remove(filepath.Join(published, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.log.Warn("tidy snapshot", "snapshot", m.Ref().String(), "error", err)
			}
		}
		return nil
	})
}

// writeFile writes a small file whole or not at all.
func writeFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// syncDir writes the file system that dir is on out to disk: what a crash of the machine
// leaves of a snapshot is all or nothing.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return linux.SyncFS(f)
}

func newID() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}
