package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/payload"
)

// needs returns the libraries and the loader that an ELF file asks for; nothing for
// other files and static programs.
func needs(name string) (libraries []string, loader string, err error) {
	f, err := elf.Open(name)
	var notELF *elf.FormatError
	if errors.As(err, &notELF) || errors.Is(err, io.EOF) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if libraries, err = f.ImportedLibraries(); err != nil {
		return nil, "", err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			raw, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, "", err
			}
			loader = strings.TrimRight(string(raw), "\x00")
		}
	}
	return libraries, loader, nil
}

// libraries adds what the files taken so far need, and what that needs, until
// nothing is missing. Each library goes by its soname only.
func (b *debBuilder) libraries() error {
	dir := "usr/lib/" + b.triplet
	for i := 0; i < len(b.entries); i++ { // grows while it runs
		if b.entries[i].source == "" {
			continue
		}
		libraries, loader, err := needs(b.entries[i].source)
		if err != nil {
			return err
		}
		for _, soname := range libraries {
			if err := b.library(soname, dir); err != nil {
				return fmt.Errorf("%s: %w", b.entries[i].path, err)
			}
		}
		if loader != "" {
			if err := b.loader(loader, dir); err != nil {
				return err
			}
		}
	}
	return b.checkSonames(dir)
}

func (b *debBuilder) library(soname, dir string) error {
	to := path.Join(dir, soname)
	if b.taken[to] {
		return nil
	}
	for _, where := range []string{dir, strings.TrimPrefix(dir, "usr/")} {
		found, err := filepath.Glob(filepath.Join(b.root, "*", where, soname))
		if err != nil {
			return err
		}
		for _, name := range found {
			// Within its package, so that a link cannot lead to the host's own library.
			real, err := filepath.EvalSymlinks(name)
			if err != nil || !strings.HasPrefix(real, b.root+"/") {
				return fmt.Errorf("%s leads out of its package", name)
			}
			pkg, _, _ := strings.Cut(strings.TrimPrefix(name, b.root+"/"), "/")
			return b.add(pkg, real, to)
		}
	}
	return fmt.Errorf("no package downloaded has %s: add one to debianRoots", soname)
}

// loader adds the program interpreter, a library itself, and the link to it at the
// path that programs have built in.
func (b *debBuilder) loader(loader, dir string) error {
	soname := path.Base(loader)
	if err := b.library(soname, dir); err != nil {
		return err
	}
	at := strings.TrimPrefix(loader, "/")
	if !strings.HasPrefix(at, "usr/") {
		at = "usr/" + at
	}
	if b.taken[at] {
		return nil
	}
	target, err := filepath.Rel(path.Dir(at), path.Join(dir, soname))
	b.link(at, target)
	return err
}

// checkSonames makes sure that each library is the one its name promises.
func (b *debBuilder) checkSonames(dir string) error {
	for _, e := range b.entries {
		if path.Dir(e.path) != "rootfs/"+dir || e.source == "" {
			continue
		}
		f, err := elf.Open(e.source)
		if err != nil {
			return err
		}
		soname, err := f.DynString(elf.DT_SONAME)
		f.Close()
		if err != nil || !slices.Equal(soname, []string{path.Base(e.path)}) {
			return fmt.Errorf("%s calls itself %v", e.path, soname)
		}
	}
	return nil
}

// checkLibraries makes sure that the payload has every library that one of its
// compiled programs needs: dockerd's come with the Debian component.
func checkLibraries(m *payload.Manifest, results []*result) error {
	have := make(map[string]bool)
	for _, c := range m.Components {
		for _, f := range c.Files {
			have[path.Base(f.Path)] = true
		}
	}
	for _, r := range results {
		for _, f := range r.Files {
			program := filepath.Join(workDir(r.Name), path.Base(f.Path))
			if _, err := os.Stat(program); err != nil || f.Link != "" {
				continue
			}
			libraries, loader, err := needs(program)
			if err != nil {
				return err
			}
			for _, name := range append(libraries, path.Base(loader)) {
				if name != "." && !have[name] {
					return fmt.Errorf("%s needs %s, which the payload has not", f.Path, name)
				}
			}
		}
	}
	return nil
}
