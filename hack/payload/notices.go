package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var noticeName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright)([.-].*)?$`)

// notices collects the licences and notices of all modules linked into the programs
// in one file, each text once, as those licences ask of whoever passes the programs on.
func (p *goProgram) notices(ctx context.Context, stage string, programs []string) (entry, error) {
	linked := make(map[string]bool)
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return entry{}, err
		}
		linked[info.Main.Path] = true
		for _, dep := range info.Deps {
			linked[dep.Path] = true
		}
	}
	raw, err := p.outputIn(ctx, stage, "go", "list", "-m", "-json", "all")
	if err != nil {
		return entry{}, err
	}
	texts := make(map[string][]string) // text → modules
	for decoder := json.NewDecoder(bytes.NewReader(raw)); ; {
		var module struct{ Path, Version, Dir string }
		if err := decoder.Decode(&module); err == io.EOF {
			break
		} else if err != nil {
			return entry{}, err
		}
		if module.Dir == "" || !linked[module.Path] {
			continue
		}
		if err := addNotices(texts, module.Path+" "+module.Version, module.Dir); err != nil {
			return entry{}, err
		}
	}
	return entry{path: "rootfs/usr/share/doc/berth/" + p.name + ".licences", mode: 0o644, data: noticeFile(texts)}, nil
}

func addNotices(texts map[string][]string, module, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !noticeName.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		texts[string(text)] = append(texts[string(text)], module)
	}
	return nil
}

func noticeFile(texts map[string][]string) []byte {
	var sections []string
	for text, modules := range texts {
		slices.Sort(modules)
		sections = append(sections, fmt.Sprintf("==== %s\n\n%s\n", strings.Join(slices.Compact(modules), "\n==== "), strings.TrimSpace(text)))
	}
	slices.Sort(sections)
	return []byte(strings.Join(sections, "\n"))
}
