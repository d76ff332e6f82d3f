package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/linux"
)

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
		// A snapshot that is made of what others have may have lost one by now.
		if err := s.checkLinks(ctx, dir, m.Bases); err != nil {
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

// unfinished ends the name of a file that is not whole yet.
const unfinished = ".new"

// writeFile writes a small file whole or not at all. Who calls it has the lock, or it is in a
// draft of theirs: there is one writer at a time, and what one leaves that was killed is
// written over by the next, or removed by [Store.Tidy].
func writeFile(path, text string) error {
	if err := os.WriteFile(path+unfinished, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+unfinished, path)
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
