package main

import (
	"io/fs"
	"os"
)

// What was changed of upstream's sources, as CycloneDX 1.6 says it.
type (
	sbomPedigree struct {
		Patches []sbomPatch `json:"patches"`
	}
	sbomPatch struct {
		Type string   `json:"type"`
		Diff sbomDiff `json:"diff"`
	}
	sbomDiff struct {
		Text sbomText `json:"text"`
	}
	sbomText struct {
		Content string `json:"content"`
	}
)

// addPedigrees says of the modules below part, and of part itself, how the build of the
// component changed them.
func addPedigrees(component string, part *sbomPart) error {
	module := upstreamOf(component)
	changes, err := (&goProgram{name: component, module: module}).changes()
	if err != nil || len(changes) == 0 {
		return err
	}
	if c, changed := changes[module]; changed {
		if part.Pedigree, err = c.pedigree(); err != nil {
			return err
		}
	}
	for i := range part.Components {
		for j := range part.Components[i].Components {
			linked := &part.Components[i].Components[j]
			c, changed := changes[linked.Name]
			if !changed {
				continue
			}
			if linked.Pedigree, err = c.pedigree(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pedigree shows the patches, and the files that were added.
func (c change) pedigree() (*sbomPedigree, error) {
	var p sbomPedigree
	add := func(text []byte, err error) error {
		if err == nil {
			p.Patches = append(p.Patches, sbomPatch{Type: "unofficial", Diff: sbomDiff{sbomText{string(text)}}})
		}
		return err
	}
	for _, name := range c.patches {
		if err := add(os.ReadFile(name)); err != nil {
			return nil, err
		}
	}
	if c.added == "" {
		return &p, nil
	}
	files := os.DirFS(c.added)
	return &p, fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return add(fs.ReadFile(files, name))
	})
}

// upstreamOf is the module that a component is compiled from; empty: none.
func upstreamOf(component string) string {
	for _, p := range goPrograms {
		if p.name == component {
			return p.module
		}
	}
	return ""
}
