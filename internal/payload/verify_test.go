package payload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// edits of an extracted tree that must be noticed.
var tamperings = map[string]func(tree *Tree) error{
	"content, with size and times put back": func(tree *Tree) error {
		info, err := os.Stat(tree.Runc())
		if err != nil {
			return err
		}
		data := content("rootfs/usr/bin/runc", 1000)
		data[500] ^= 1
		return errors.Join(os.WriteFile(tree.Runc(), data, 0), os.Chtimes(tree.Runc(), info.ModTime(), info.ModTime()))
	},
	"mode":         func(tree *Tree) error { return os.Chmod(tree.Runc(), 0o755|os.ModeSetuid) },
	"file gone":    func(tree *Tree) error { return os.Remove(tree.Runc()) },
	"file added":   func(tree *Tree) error { return os.WriteFile(tree.File("usr/bin/sudo"), nil, 0o755) },
	"added at top": func(tree *Tree) error { return os.Mkdir(filepath.Join(tree.Dir, "etc"), 0o755) },
	"directory writable": func(tree *Tree) error {
		return os.Chmod(tree.File("usr/bin"), 0o777)
	},
	"link redirected": func(tree *Tree) error {
		return errors.Join(os.Remove(tree.Docker()), os.Symlink("/bin/true", tree.Docker()))
	},
	"file became a link": func(tree *Tree) error {
		return errors.Join(os.Rename(tree.Runc(), tree.Dir+".runc"), os.Symlink(tree.Dir+".runc", tree.Runc()))
	},
	"directory became a link": func(tree *Tree) error {
		moved := tree.Dir + ".moved"
		return errors.Join(os.Rename(tree.Rootfs(), moved), os.Symlink(moved, tree.Rootfs()))
	},
}

func TestTamperingIsRefused(t *testing.T) {
	for name, tamper := range tamperings {
		for _, stamped := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				p, dir := fake(t), t.TempDir()
				tree, err := p.Extract(t.Context(), dir, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := tamper(tree); err != nil {
					t.Fatal(err)
				}
				if !stamped {
					if err := os.Remove(stampPath(tree)); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 { // and it stays refused
					_, err = p.Extract(t.Context(), dir, nil)
					var tampered *TamperedError
					if !errors.As(err, &tampered) || tampered.Remove != tree.Dir {
						t.Fatalf("with stamp %v: got %v", stamped, err)
					}
				}
			})
		}
	}
}

// What changes no content is accepted, and the stamp renewed so that the next start
// is fast again.
func TestHarmlessChangesRenewTheStamp(t *testing.T) {
	p, dir := fake(t), t.TempDir()
	tree, err := p.Extract(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	copied := tree.Runc() + ".copy"
	for name, change := range map[string]func() error{
		"touched":       func() error { return os.Chmod(tree.Runc(), 0o755) },
		"no stamp":      func() error { return os.Remove(stampPath(tree)) },
		"broken stamp":  func() error { return os.WriteFile(stampPath(tree), []byte("x\n\x00\x00"), 0o644) },
		"cut off stamp": func() error { return os.Truncate(stampPath(tree), 100) },
		"restored": func() error {
			return errors.Join(os.WriteFile(copied, content("rootfs/usr/bin/runc", 1000), 0o755),
				os.Rename(copied, tree.Runc()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if stampMatches(tree) {
				t.Error("the stamp did not notice")
			}
			if _, err := p.Extract(t.Context(), dir, nil); err != nil {
				t.Error(err)
			}
			if !stampMatches(tree) {
				t.Error("the stamp was not renewed")
			}
		})
	}
}
