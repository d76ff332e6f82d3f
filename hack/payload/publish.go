package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/berth-dev/berth/internal/payload"
)

// publish puts the archives and their manifest into dir, and removes archives of
// components that are no more. The manifest is checked as berth will check it.
func publish(results []*result, dir string) (*payload.Manifest, error) {
	m := &payload.Manifest{Version: payload.ManifestVersion, Platform: "linux/" + runtime.GOARCH}
	keep := make(map[string]bool)
	for _, r := range results {
		keep[r.Archive] = true
		m.Components = append(m.Components, r.Component)
		if err := place(r.archive, filepath.Join(dir, r.Archive)); err != nil {
			return nil, err
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil {
		return nil, err
	}
	for _, name := range old {
		if !keep[filepath.Base(name)] {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	raw, err := marshal(m)
	if err != nil {
		return nil, err
	}
	if _, err := payload.ParseManifest(raw); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "manifest.json")
	if old, err := os.ReadFile(name); err == nil && string(old) == string(raw) {
		return m, nil
	}
	return m, os.WriteFile(name, raw, 0o644)
}

// marshal writes one file a line: small, and still to be read in a diff.
func marshal(m *payload.Manifest) ([]byte, error) {
	raw, err := json.Marshal(m)
	return []byte(strings.ReplaceAll(string(raw), `},{"path"`, "},\n{\"path\"") + "\n"), err
}

// place makes name the same file as source: a hard link, or a copy where the two are
// on different file systems.
func place(source, name string) error {
	from, err := os.Stat(source)
	if err != nil {
		return err
	}
	if to, err := os.Stat(name); err == nil && os.SameFile(from, to) {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(source, name) == nil {
		return nil
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
