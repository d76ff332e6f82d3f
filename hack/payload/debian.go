package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-dev/berth/hack/task"
	"github.com/berth-dev/berth/internal/payload"
)

// triplets are Debian's multiarch names of Go's architectures.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// debianComponent takes programs and libraries from Debian packages, unpacked in the
// cache; nothing is installed. apt checks the packages against Debian's signatures.
func debianComponent() *component {
	d := &debian{triplet: triplets[runtime.GOARCH]}
	return &component{name: "debian", inputs: d.inputs, build: d.build}
}

type debian struct {
	triplet  string
	packages []debPackage
}

// debPackage is one line of `apt-get download --print-uris`.
type debPackage struct {
	name, version, file string
}

// inputs are the exact packages that apt would download now. When apt knows none
// (no lists, no network) and a result is there, that one is kept.
func (d *debian) inputs(ctx context.Context, w io.Writer) error {
	if d.triplet == "" {
		return fmt.Errorf("no Debian multiarch name is known for %s", runtime.GOARCH)
	}
	list := filepath.Join(workDir("debian"), "packages")
	uris, err := d.resolve(ctx)
	if err == nil {
		if err := errors.Join(os.MkdirAll(filepath.Dir(list), 0o755), os.WriteFile(list, uris, 0o644)); err != nil {
			return err
		}
	} else if uris, _ = os.ReadFile(list); len(uris) == 0 {
		return fmt.Errorf("%w: bring apt's lists up to date with `make deps`", err)
	}
	d.packages = parseURIs(uris)
	fmt.Fprintf(w, "%s\n%+v\n%v\n%s\n", uris, debFiles, debLinks, applets)
	return nil
}

// resolve asks apt for the packages by name and the libraries below them.
func (d *debian) resolve(ctx context.Context) ([]byte, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}
	raw, err := task.Output(ctx, ".", nil, "apt-cache", append(args, debianRoots...)...)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(debianRoots)
	for line := range strings.Lines(string(raw)) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(line, "lib") && !strings.Contains(name, "perl") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	args = []string{"-o", "APT::Sandbox::User=root", "download", "--print-uris"}
	uris, err := task.Output(ctx, ".", nil, "apt-get", append(args, names...)...)
	if err != nil {
		return nil, err
	}
	lines := slices.Sorted(strings.Lines(string(uris)))
	return []byte(strings.Join(lines, "")), nil
}

var uriLine = regexp.MustCompile(`^'[^']*' (([^_ ]+)_([^_ ]+)_[^ ]+\.deb) \d+ `)

func parseURIs(uris []byte) []debPackage {
	var list []debPackage
	for line := range strings.Lines(string(uris)) {
		if m := uriLine.FindStringSubmatch(line); m != nil {
			list = append(list, debPackage{file: m[1], name: m[2], version: strings.ReplaceAll(m[3], "%3a", ":")})
		}
	}
	return list
}

func (d *debian) build(ctx context.Context, dir string) (*contents, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := d.download(ctx, dir); err != nil {
		return nil, err
	}
	b := &debBuilder{triplet: d.triplet, root: filepath.Join(dir, "root"), taken: map[string]bool{}, used: map[string]bool{}}
	if err := os.RemoveAll(b.root); err != nil {
		return nil, err
	}
	for _, p := range d.packages {
		into := filepath.Join(b.root, p.name)
		if err := os.MkdirAll(into, 0o755); err != nil {
			return nil, err
		}
		if _, err := task.Output(ctx, dir, nil, "dpkg-deb", "-x", filepath.Join(dir, "debs", p.file), into); err != nil {
			return nil, err
		}
	}
	if err := b.collect(); err != nil {
		return nil, err
	}
	return b.contents(d.packages)
}

// download fetches the packages that are not in the cache and removes old ones.
func (d *debian) download(ctx context.Context, dir string) error {
	debs := filepath.Join(dir, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	keep := make(map[string]bool)
	args := []string{"-o", "APT::Sandbox::User=root", "-q", "download"}
	missing := false
	for _, p := range d.packages {
		keep[p.file] = true
		if _, err := os.Stat(filepath.Join(debs, p.file)); errors.Is(err, fs.ErrNotExist) {
			args, missing = append(args, p.name+"="+p.version), true
		}
	}
	if missing {
		if _, err := task.Output(ctx, debs, nil, "apt-get", args...); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(debs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(debs, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// debBuilder gathers files from the unpacked packages, root/<package>/….
type debBuilder struct {
	triplet, root string
	entries       []entry
	taken         map[string]bool // paths in the tree
	used          map[string]bool // packages that gave a file
}

func (b *debBuilder) collect() error {
	for _, f := range debFiles {
		if err := b.take(f); err != nil {
			return err
		}
	}
	if err := b.libraries(); err != nil {
		return err
	}
	for name, target := range debLinks {
		b.link(name, target)
	}
	for _, name := range strings.Fields(applets) {
		if b.taken["usr/bin/"+name] {
			return fmt.Errorf("busybox's %s would hide a real program", name)
		}
		b.link("usr/bin/"+name, "busybox")
	}
	return b.certificates()
}

func (b *debBuilder) link(name, target string) {
	b.taken[name] = true
	b.entries = append(b.entries, entry{path: "rootfs/" + name, link: target})
}

// take adds the files that f names.
func (b *debBuilder) take(f debFile) error {
	from := strings.ReplaceAll(f.from, "{triplet}", b.triplet)
	for _, pattern := range []string{from, strings.TrimPrefix(from, "usr/")} {
		base := filepath.Join(b.root, f.pkg)
		found, err := filepath.Glob(filepath.Join(base, pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			to := cmp.Or(f.to, path.Join(path.Dir(from), filepath.Base(name)))
			if err := b.add(f.pkg, name, to); err != nil {
				return err
			}
		}
		if len(found) > 0 {
			return nil
		}
	}
	return fmt.Errorf("package %s has no %s", f.pkg, f.from)
}

// add takes one file or relative link into the tree. Modes are made uniform.
func (b *debBuilder) add(pkg, source, to string) error {
	b.used[pkg] = true
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(source)
		b.link(to, target)
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	b.taken[to] = true
	b.entries = append(b.entries, entry{path: "rootfs/" + to, mode: mode, source: source})
	return nil
}

// certificates joins the trusted authorities as update-ca-certificates does.
func (b *debBuilder) certificates() error {
	names, err := filepath.Glob(filepath.Join(b.root, "ca-certificates/usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil || len(names) == 0 {
		return cmp.Or(err, errors.New("package ca-certificates has no certificates"))
	}
	var bundle bytes.Buffer
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		bundle.Write(append(bytes.TrimSpace(data), '\n'))
	}
	b.used["ca-certificates"] = true
	b.entries = append(b.entries, entry{path: "rootfs/" + caBundle, mode: 0o644, data: bundle.Bytes()})
	return nil
}

// contents adds the packages that gave a file, and their copyright notices.
func (b *debBuilder) contents(all []debPackage) (*contents, error) {
	made := &contents{entries: b.entries}
	var notices bytes.Buffer
	for _, p := range all {
		if !b.used[p.name] {
			continue
		}
		text := b.copyright(p.name)
		fmt.Fprintf(&notices, "==== %s %s\n\n%s\n\n", p.name, p.version, bytes.TrimSpace(text))
		made.packages = append(made.packages, payload.Package{
			Name: p.name, Version: p.version, Licence: debLicences(text),
			PURL: fmt.Sprintf("pkg:deb/%s/%s@%s?arch=%s", distribution(), p.name, p.version, runtime.GOARCH),
		})
	}
	made.entries = append(made.entries, entry{path: "rootfs/usr/share/doc/berth/debian.licences", mode: 0o644, data: notices.Bytes()})
	return made, nil
}

// distribution is the ID of /etc/os-release: apt may well be Ubuntu's.
func distribution() string {
	raw, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(raw)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
			return strings.Trim(id, `"'`)
		}
	}
	return "debian"
}

// copyright reads a package's notice; the directory may be a link to that of another
// package, in which case that one's is the right one.
func (b *debBuilder) copyright(pkg string) []byte {
	doc := filepath.Join(b.root, pkg, "usr/share/doc", pkg)
	if target, err := os.Readlink(doc); err == nil {
		pkg = filepath.Base(target)
		doc = filepath.Join(b.root, pkg, "usr/share/doc", pkg)
	}
	text, err := os.ReadFile(filepath.Join(doc, "copyright"))
	if err != nil {
		return []byte("see https://sources.debian.org for its copyright file")
	}
	return text
}

var licenceLine = regexp.MustCompile(`(?m)^License: *(\S+( with \S+ exception)?)`)

// debLicences lists the short names in a machine-readable copyright file.
func debLicences(text []byte) string {
	var names []string
	for _, m := range licenceLine.FindAllSubmatch(text, -1) {
		names = append(names, strings.TrimRight(string(m[1]), ".,"))
	}
	if len(names) == 0 {
		return "see usr/share/doc/berth/debian.licences"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
