package machine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// Root says what a root file system has. Paths have no leading slash.
type Root struct {
	Packages []string            // with all that they depend on
	Without  *regexp.Regexp      // dependencies to leave out; nil for none
	Apart    map[string][]string // by directory: packages unpacked there, without what they depend on
	Files    map[string]string   // contents
	Links    map[string]string   // targets
	Dirs     []string
	RoomMiB  int64 // free space
}

// With returns r with what more has, which goes before where both have something.
func (r Root) With(more Root) Root {
	r.Packages = append(slices.Clone(r.Packages), more.Packages...)
	r.Dirs = append(slices.Clone(r.Dirs), more.Dirs...)
	r.Files, r.Links, r.Apart = merged(r.Files, more.Files), merged(r.Links, more.Links), merged(r.Apart, more.Apart)
	if more.Without != nil {
		r.Without = more.Without
	}
	r.RoomMiB = max(r.RoomMiB, more.RoomMiB)
	return r
}

func merged[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, b)
	return out
}

// Root makes an ext4 image of a root file system, once for each set of package versions
// and contents, and returns its path.
func (s Store) Root(ctx context.Context, r Root) (image string, err error) {
	a := archive{s: s}
	debs, err := a.packages(ctx, r.Packages, r.Without)
	if err != nil {
		return "", err
	}
	all, apart := slices.Clone(debs), map[string][]deb{}
	for _, dir := range slices.Sorted(maps.Keys(r.Apart)) {
		found, err := a.packages(ctx, r.Apart[dir], r.Without)
		if err != nil {
			return "", err
		}
		apart[dir] = slices.DeleteFunc(found, func(d deb) bool { return !slices.Contains(r.Apart[dir], d.name) })
		all = append(all, apart[dir]...)
	}
	image = filepath.Join(s.Dir, "root-"+content(all, fmt.Sprint(r.Files, r.Links, r.Dirs, r.Apart, r.RoomMiB))+".img")
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	s.say("making the root file system from %d Debian packages", len(all))
	if err := a.download(ctx, all); err != nil {
		return "", err
	}
	tree := image + ".tree"
	defer os.RemoveAll(tree)
	if err := os.RemoveAll(tree); err != nil {
		return "", err
	}
	if err := r.fill(ctx, a, tree, debs, apart); err != nil {
		return "", err
	}
	if err := Image(ctx, image+".new", tree, r.RoomMiB); err != nil {
		return "", err
	}
	return image, os.Rename(image+".new", image)
}

func (r Root) fill(ctx context.Context, a archive, tree string, debs []deb, apart map[string][]deb) error {
	if err := r.layOut(tree); err != nil {
		return err
	}
	if err := a.unpack(ctx, tree, debs); err != nil {
		return err
	}
	for dir, debs := range apart {
		if err := a.unpack(ctx, filepath.Join(tree, dir), debs); err != nil {
			return err
		}
	}
	return r.configure(tree)
}

// layOut makes the directories, with a merged /usr as Debian has it.
func (r Root) layOut(tree string) error {
	for _, dir := range append(slices.Collect(maps.Keys(r.Apart)), r.Dirs...) {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(tree, "usr", name), 0o755), os.Symlink("usr/"+name, filepath.Join(tree, name))); err != nil {
			return err
		}
	}
	return nil
}

func (r Root) configure(tree string) error {
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		path := filepath.Join(tree, name)
		os.Remove(path) // may be a link that leads out of the tree
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(r.Files[name]), 0o644)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Links)) {
		path := filepath.Join(tree, name)
		os.Remove(path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(r.Links[name], path)); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{"tmp": 0o777 | os.ModeSticky, "var/tmp": 0o777 | os.ModeSticky, "root": 0o700} {
		if err := os.Chmod(filepath.Join(tree, dir), mode); err != nil {
			return err
		}
	}
	return nil
}

// busybox returns the path of Debian's static one.
func (s Store) busybox(ctx context.Context) (string, error) {
	a := archive{s: s}
	debs, err := a.packages(ctx, []string{"busybox-static"}, nil)
	if err != nil {
		return "", err
	}
	debs = slices.DeleteFunc(debs, func(d deb) bool { return d.name != "busybox-static" })
	dir := filepath.Join(s.Dir, "busybox-"+content(debs, ""))
	found := filepath.Join(dir, "bin/busybox")
	if _, err := os.Stat(found); err == nil {
		return found, nil
	}
	if err := a.download(ctx, debs); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return found, a.unpack(ctx, dir, debs)
}
