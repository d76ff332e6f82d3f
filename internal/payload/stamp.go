package payload

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A stamp is what lstat said of each file and directory of a verified tree. It lies
// beside the tree as <digest>.stamp: a first line with the format and the number of
// entries, then one line an entry:
//
//	path NUL mode size mtime ctime inode uid gid
//
// Times are nanoseconds. The change time cannot be set back, so that an edit that
// restores size and modification time still shows. Access times and device numbers
// are left out: reading and rebooting are not changes.
type stamp map[string][]byte

func stampPath(tree *Tree) string { return tree.Dir + ".stamp" }

func stampHeader(entries int) []byte { return fmt.Appendf(nil, "berth payload stamp 1, %d\n", entries) }

// stampMatches reports whether the tree is there and every entry is as its stamp
// says. It is the fast path of every start: one lstat a file, no parsing to speak of.
func stampMatches(tree *Tree) bool {
	raw, err := os.ReadFile(stampPath(tree))
	if err != nil {
		return false
	}
	header, body, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || !bytes.Equal(append(header, '\n'), stampHeader(bytes.Count(body, []byte("\n")))) {
		return false
	}
	dir, err := unix.Open(tree.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	var buf []byte
	for line := range bytes.Lines(body) {
		rel, _, ok := bytes.Cut(line, []byte{0})
		if !ok {
			return false
		}
		if buf, err = appendEntry(buf[:0], dir, string(rel)); err != nil || !bytes.Equal(buf, line) {
			return false
		}
	}
	return true
}

// readStamp returns the tree's stamp, empty when there is none that can be read.
func readStamp(tree *Tree) stamp {
	s := make(stamp)
	raw, err := os.ReadFile(stampPath(tree))
	if err != nil {
		return s
	}
	for line := range bytes.Lines(raw) {
		if rel, _, ok := bytes.Cut(line, []byte{0}); ok {
			s[string(rel)] = line
		}
	}
	return s
}

// takeStamp lstats everything that the manifest lists.
func takeStamp(m *Manifest, tree *Tree) (stamp, error) {
	dir, err := unix.Open(tree.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, tree.tampered("", "was replaced")
	}
	defer unix.Close(dir)
	s := make(stamp)
	add := func(rel string) error {
		line, err := appendEntry(nil, dir, rel)
		if err != nil {
			return tree.tampered(rel, "has gone")
		}
		s[rel] = line
		return nil
	}
	for rel := range m.dirs() {
		if err := add(rel); err != nil {
			return nil, err
		}
	}
	for file := range m.files {
		if err := add(file.Path); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func appendEntry(buf []byte, dir int, rel string) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, rel, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	buf = append(append(buf, rel...), 0)
	buf = strconv.AppendUint(buf, uint64(st.Mode), 8)
	for _, n := range [...]int64{st.Size, st.Mtim.Nano(), st.Ctim.Nano(), int64(st.Ino), int64(st.Uid), int64(st.Gid)} {
		buf = strconv.AppendInt(append(buf, ' '), n, 10)
	}
	return append(buf, '\n'), nil
}

// write puts the stamp in place of the old one in one step.
func (s stamp) write(tree *Tree) error {
	raw := stampHeader(len(s))
	for _, rel := range slices.Sorted(maps.Keys(s)) {
		raw = append(raw, s[rel]...)
	}
	temp, err := os.CreateTemp(filepath.Dir(tree.Dir), tempPrefix+"stamp-")
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	defer os.Remove(temp.Name()) // finds nothing after the rename
	defer temp.Close()
	if _, err := temp.Write(raw); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := temp.Chmod(0o644); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if err := os.Rename(temp.Name(), stampPath(tree)); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}
