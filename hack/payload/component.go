package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-dev/berth/internal/payload"
)

// format is part of every key: raise it when packing changes.
const format = "2"

// component is one archive of the payload.
type component struct {
	name string
	// inputs writes everything that the result depends on, in a stable order.
	inputs func(ctx context.Context, w io.Writer) error
	// build makes the files; dir is the component's directory in the cache.
	build func(ctx context.Context, dir string) (*contents, error)
}

// contents is what a component's archive will hold.
type contents struct {
	packages []payload.Package
	entries  []entry
}

// entry is one file or link; exactly one of source, data and link is set.
type entry struct {
	path   string // in the tree, e.g. rootfs/usr/bin/runc
	mode   os.FileMode
	source string // file to copy
	data   []byte
	link   string
}

// result is a component as it lies in the cache.
type result struct {
	payload.Component
	archive string // path of the archive in the cache
}

// update returns the cached result when its key is the current one, else builds and,
// in the group packing, packs a new one. The result is complete when packing is.
func (c *component) update(ctx context.Context, packing *errgroup.Group) (*result, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, format)
	if err := c.inputs(ctx, hash); err != nil {
		return nil, err
	}
	key := hex.EncodeToString(hash.Sum(nil))
	dir := workDir(c.name)
	if r := cached(dir, key); r != nil {
		return r, nil
	}
	start := time.Now()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var made *contents
	err := progress.During(c.name, "building", func() (err error) {
		made, err = c.build(ctx, dir)
		return err
	})
	if err != nil {
		return nil, err
	}
	built := time.Since(start)
	r := &result{archive: archivePath(dir)}
	packing.Go(func() error {
		packed := time.Now()
		if err := r.pack(c.name, dir, key, made); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		progress.Say("%-12s built in %s, packed in %s: %s", c.name, built.Round(100*time.Millisecond), elapsed(packed), megabytes(r.Size))
		return nil
	})
	return r, nil
}

// cached returns the result with this key, nil when there is none.
func cached(dir, key string) *result {
	old, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil || string(old) != key {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "component.json"))
	if err != nil {
		return nil
	}
	r := &result{archive: archivePath(dir)}
	if json.Unmarshal(raw, &r.Component) != nil {
		return nil
	}
	if info, err := os.Stat(r.archive); err != nil || info.Size() != r.Size {
		return nil
	}
	return r
}

// pack writes the archive and its description, and the key when both are there.
func (r *result) pack(name, dir, key string, made *contents) error {
	if err := os.Remove(filepath.Join(dir, "key")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	files, err := writeArchive(r.archive, made.entries)
	if err != nil {
		return err
	}
	info, err := os.Stat(r.archive)
	if err != nil {
		return err
	}
	r.Component = payload.Component{
		Name: name, Archive: name + ".tar.zst", Size: info.Size(), Packages: made.packages, Files: files,
	}
	raw, err := json.Marshal(r.Component)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "component.json"), raw, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "key"), []byte(key), 0o644)
}

func archivePath(dir string) string { return filepath.Join(dir, "archive.tar.zst") }
