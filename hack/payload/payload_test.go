package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestParseURIs(t *testing.T) {
	got := parseURIs([]byte(`'http://deb.debian.org/debian/pool/main/g/git/git_2.39.5-0%2bdeb12u3_amd64.deb' git_1%3a2.39.5-0+deb12u3_amd64.deb 7264380 SHA256:637a
not a line
'http://deb.debian.org/x/tini_0.19.0-1%2bb3_amd64.deb' tini_0.19.0-1+b3_amd64.deb 267204 SHA256:7d19
`))
	want := []debPackage{
		{name: "git", version: "1:2.39.5-0+deb12u3", file: "git_1%3a2.39.5-0+deb12u3_amd64.deb"},
		{name: "tini", version: "0.19.0-1+b3", file: "tini_0.19.0-1+b3_amd64.deb"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestDebLicences(t *testing.T) {
	text := "Files: *\nLicense: GPL-2+\n\nFiles: x\nLicense: GPL-2+ with Autoconf exception\nLicense: Expat\nLicense: Expat\n"
	if got, want := debLicences([]byte(text)), "Expat, GPL-2+, GPL-2+ with Autoconf exception"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestModuleLicences(t *testing.T) {
	notices := noticeFile(map[string][]string{
		"Permission is hereby granted, free of charge,\nto any person obtaining a copy": {"b v1", "a v1"},
		"Apache License\n  Version 2.0, January 2004":                                   {"a v1", "c v2"},
	})
	got := moduleLicences(string(notices))
	for module, want := range map[string]string{"a v1": "MIT, Apache-2.0", "b v1": "MIT", "c v2": "Apache-2.0"} {
		if got[module] != want && !(module == "a v1" && got[module] == "Apache-2.0, MIT") {
			t.Errorf("%s: got %q, want %q", module, got[module], want)
		}
	}
}

// Every component's settings must fit the go.mod beside them.
func TestPinsAndStamps(t *testing.T) {
	t.Chdir("../..")
	for _, p := range goPrograms {
		version, err := p.require(p.module)
		if err != nil {
			t.Error(err)
		}
		for _, stamp := range p.stamps {
			for _, name := range placeholder.FindAllString(stamp, -1) {
				if name == "{time}" { // asks the module cache
					continue
				}
				if value, err := p.value(t.Context(), name[1:len(name)-1], version); err != nil || value == "" {
					t.Errorf("%s: %s: %q, %v", p.name, name, value, err)
				}
			}
		}
	}
}

func TestArchivesAreReproducible(t *testing.T) {
	dir := t.TempDir()
	entries := []entry{
		{path: "rootfs/b", mode: 0o755, data: bytes.Repeat([]byte("berth"), 1<<20)},
		{path: "rootfs/a", link: "b"},
	}
	var archives [][]byte
	for _, name := range []string{"1", "2"} {
		if _, err := writeArchive(filepath.Join(dir, name), entries); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, raw)
		slices.Reverse(entries)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same entries gave different archives")
	}
}
