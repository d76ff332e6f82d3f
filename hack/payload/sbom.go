package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/payload"
)

// The parts of CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/) that are used.
type (
	sbom struct {
		Format      string     `json:"bomFormat"`
		SpecVersion string     `json:"specVersion"`
		Version     int        `json:"version"`
		Metadata    sbomMeta   `json:"metadata"`
		Components  []sbomPart `json:"components"`
	}
	sbomMeta struct {
		Component sbomPart `json:"component"`
	}
	sbomPart struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref,omitempty"`
		Name       string        `json:"name"`
		Version    string        `json:"version,omitempty"`
		PURL       string        `json:"purl,omitempty"`
		Hashes     []sbomHash    `json:"hashes,omitempty"`
		Licences   []sbomLicence `json:"licenses,omitempty"`
		Pedigree   *sbomPedigree `json:"pedigree,omitempty"`
		Components []sbomPart    `json:"components,omitempty"`
	}
	sbomHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	sbomLicence struct {
		Licence sbomLicenceName `json:"license"`
	}
	sbomLicenceName struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
)

// writeSBOM lists what is in the berth program: its own Go modules, and each program
// and package of the payload with its files and Go modules. It reads the published
// archives, not the build's records, so that it describes what is shipped.
func writeSBOM(ctx context.Context, berth, out string) error {
	p, err := payload.Open(os.DirFS(filesDir))
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "berth-sbom-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	tree, err := p.Extract(ctx, temp, nil)
	if err != nil {
		return err
	}
	m, err := p.Manifest()
	if err != nil {
		return err
	}
	doc := sbom{Format: "CycloneDX", SpecVersion: "1.6", Version: 1}
	if doc.Metadata.Component, err = program(ctx, berth); err != nil {
		return fmt.Errorf("%w: build it with `make build`", err)
	}
	for _, c := range m.Components {
		parts, err := componentParts(tree, c)
		if err != nil {
			return err
		}
		doc.Components = append(doc.Components, parts...)
	}
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	progress.Say("%s: %d programs and packages, %d Go modules", out, len(doc.Components), countModules(doc))
	return nil
}

// program describes berth itself.
func program(ctx context.Context, name string) (sbomPart, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return sbomPart{}, err
	}
	notices, err := (&goProgram{name: "berth"}).notices(ctx, ".", []string{name})
	if err != nil {
		return sbomPart{}, err
	}
	modules, err := goModules(name, moduleLicences(string(notices.data)))
	if err != nil {
		return sbomPart{}, err
	}
	sum := sha256.Sum256(data)
	return sbomPart{
		Type: "application", Ref: "berth", Name: "berth", Licences: licences("Apache-2.0"),
		Hashes:     []sbomHash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Components: modules,
	}, nil
}

// componentParts describes a component's packages. The files of one with a single
// package, and the Go modules linked into them, are listed below that package.
func componentParts(tree *payload.Tree, c payload.Component) ([]sbomPart, error) {
	var parts []sbomPart
	for _, p := range c.Packages {
		kind := "application"
		if strings.HasPrefix(p.Name, "lib") || p.Name == "zlib1g" || p.Name == "ca-certificates" {
			kind = "library"
		}
		parts = append(parts, sbomPart{
			Type: kind, Ref: p.PURL, Name: p.Name, Version: p.Version, PURL: p.PURL, Licences: licences(p.Licence),
		})
	}
	if len(parts) != 1 {
		return parts, nil
	}
	notices, _ := os.ReadFile(tree.File("usr/share/doc/berth/" + c.Name + ".licences"))
	known := moduleLicences(string(notices))
	for _, f := range c.Files {
		if f.Link != "" || f.Mode&0o111 == 0 {
			continue
		}
		modules, err := goModules(filepath.Join(tree.Dir, f.Path), known)
		if err != nil {
			return nil, err
		}
		parts[0].Components = append(parts[0].Components, sbomPart{
			Type: "file", Name: "/" + strings.TrimPrefix(f.Path, "rootfs/"),
			Hashes: []sbomHash{{"SHA-256", f.SHA256}}, Components: modules,
		})
	}
	return parts, addPedigrees(c.Name, &parts[0])
}

// goModules lists the modules that a Go program was linked from, the toolchain among
// them. known maps "path version" to a licence.
func goModules(name string, known map[string]string) ([]sbomPart, error) {
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		return nil, err
	}
	parts := []sbomPart{{Type: "library", Name: "std", Version: info.GoVersion, PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"), Licences: licences("BSD-3-Clause")}}
	for _, dep := range info.Deps {
		parts = append(parts, sbomPart{
			Type: "library", Name: dep.Path, Version: dep.Version,
			PURL: "pkg:golang/" + dep.Path + "@" + dep.Version, Licences: licences(known[dep.Path+" "+dep.Version]),
		})
	}
	return parts, nil
}

// moduleLicences reads a notice file back: which licences each module is under. A
// section is one "==== module version" line a module, an empty line and the text.
func moduleLicences(notices string) map[string]string {
	known := make(map[string]string)
	var modules []string
	var text strings.Builder
	flush := func() {
		id := licenceID(text.String())
		for _, module := range modules {
			if id != "" && !strings.Contains(known[module], id) {
				known[module] = strings.TrimPrefix(known[module]+", "+id, ", ")
			}
		}
		modules = nil
		text.Reset()
	}
	for line := range strings.Lines(notices) {
		module, isHead := strings.CutPrefix(strings.TrimSpace(line), "==== ")
		if !isHead {
			text.WriteString(line)
			continue
		}
		if text.Len() > 0 {
			flush()
		}
		modules = append(modules, module)
	}
	flush()
	return known
}

// licenceID recognises the common licences by a sentence that only they have.
func licenceID(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, l := range []struct{ id, phrase string }{
		{"Apache-2.0", "apache license version 2.0, january 2004"},
		{"MPL-2.0", "mozilla public license version 2.0"},
		{"MPL-2.0", "mozilla public license, version 2.0"},
		{"BSD-3-Clause", "may be used to endorse or promote products derived from this software"},
		{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software"},
		{"ISC", "permission to use, copy, modify, and distribute this software"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"CC0-1.0", "cc0 1.0 universal"},
		{"Unlicense", "this is free and unencumbered software released into the public domain"},
	} {
		if strings.Contains(text, l.phrase) {
			return l.id
		}
	}
	return ""
}

// licences turns "A, B" into CycloneDX's list. Debian's short names are not all SPDX
// identifiers, so only the ones known to be are given as such.
func licences(names string) []sbomLicence {
	ids := []string{"Apache-2.0", "MPL-2.0", "BSD-3-Clause", "BSD-2-Clause", "ISC", "MIT", "CC0-1.0", "Unlicense"}
	var list []sbomLicence
	for name := range strings.SplitSeq(names, ", ") {
		switch {
		case name == "":
		case slices.Contains(ids, name):
			list = append(list, sbomLicence{sbomLicenceName{ID: name}})
		default:
			list = append(list, sbomLicence{sbomLicenceName{Name: name}})
		}
	}
	return list
}

func countModules(doc sbom) int {
	seen := make(map[string]bool)
	var walk func([]sbomPart)
	walk = func(parts []sbomPart) {
		for _, p := range parts {
			if p.Type == "library" && strings.HasPrefix(p.PURL, "pkg:golang/") {
				seen[p.PURL] = true
			}
			walk(p.Components)
		}
	}
	walk(doc.Metadata.Component.Components)
	walk(doc.Components)
	return len(seen)
}
