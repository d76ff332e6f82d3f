package snapshot

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hash describes every file below dir: kind, mode, owner, device, contents, link, extended
// attributes and time of change.
func hash(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d %d", info.Mode(), st.Uid, st.Gid, st.Rdev)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %s %x", info.ModTime(), sha256.Sum256(data))
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + link
		}
		names := make([]byte, 4096)
		if n, _ := unix.Llistxattr(path, names); n > 0 {
			value := make([]byte, 4096)
			for _, name := range split(names[:n]) {
				n, _ := unix.Lgetxattr(path, name, value)
				text += fmt.Sprintf(" %s=%q", name, value[:max(n, 0)])
			}
		}
		out[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d files below %s", len(out), dir)
	}
	return out
}

func split(names []byte) (out []string) {
	for start, i := 0, 0; i < len(names); i++ {
		if names[i] == 0 {
			out, start = append(out, string(names[start:i])), i+1
		}
	}
	return out
}

// same fails the test for every file that differs.
func same(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s was\n%s\nand is\n%s", path, text, after[path])
		}
	}
	for path := range after {
		if before[path] == "" {
			t.Errorf("%s is new", path)
		}
	}
}
