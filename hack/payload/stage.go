package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-dev/berth/hack/task"
)

// change is what is done to the sources of one upstream module.
type change struct {
	added   string   // directory whose files are added; empty: none
	patches []string // in order, as git-apply(1) takes them
}

// changes are what payload/<name> does to upstream's sources, by module path: files to be
// added to the component's own module lie below _add, patches of any module it is built
// from below _patch/<module path>.
func (p *goProgram) changes() (map[string]change, error) {
	all := make(map[string]change)
	if added := filepath.Join(p.dir(), "_add"); isDir(added) {
		all[p.module] = change{added: added}
	}
	root := filepath.Join(p.dir(), "_patch")
	if !isDir(root) {
		return all, nil
	}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		module, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		c := all[module]
		c.patches = append(c.patches, name)
		all[module] = c
		return nil
	})
	return all, err
}

// stage returns the directory to build in. It is the component's own module or, when
// upstream's sources are changed, a copy of it that uses changed copies of theirs: Go allows
// neither an overlay nor a change in its module cache.
func (p *goProgram) stage(ctx context.Context, dir string) (string, error) {
	changes, err := p.changes()
	if err != nil || len(changes) == 0 {
		return p.dir(), err
	}
	stage := filepath.Join(dir, "stage")
	if err := os.RemoveAll(stage); err != nil {
		return "", err
	}
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(p.dir(), name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(stage, name), data, 0o644); err != nil {
			return "", err
		}
	}
	for i, module := range slices.Sorted(maps.Keys(changes)) {
		source := fmt.Sprintf("src%d", i)
		if err := p.copyModule(ctx, stage, source, module, changes[module]); err != nil {
			return "", fmt.Errorf("change the sources of %s: %w", module, err)
		}
		if _, err := p.outputIn(ctx, stage, "go", "mod", "edit", "-replace", module+"=./"+source); err != nil {
			return "", err
		}
	}
	return stage, nil
}

// copyModule writes upstream's sources of module with its changes to stage/source.
func (p *goProgram) copyModule(ctx context.Context, stage, source, module string, c change) error {
	if _, err := p.output(ctx, "go", "mod", "download", module); err != nil {
		return err
	}
	upstream, err := p.output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	copied := filepath.Join(stage, source)
	if err := os.CopyFS(copied, sourcesOnly{os.DirFS(strings.TrimSpace(string(upstream)))}); err != nil {
		return err
	}
	if c.added != "" {
		if err := os.CopyFS(copied, os.DirFS(c.added)); err != nil {
			return err
		}
	}
	for _, patch := range c.patches {
		if err := apply(ctx, copied, patch); err != nil {
			return err
		}
	}
	// Upstream's module may have no go.mod (docker/cli has not): give it ours.
	return moduleFile(stage, copied, module)
}

// apply changes the sources in dir by a patch, all of it or none.
func apply(ctx context.Context, dir, patch string) error {
	patch, err := filepath.Abs(patch)
	if err != nil {
		return err
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if above, err = filepath.Abs(above); err != nil {
		return err
	}
	// In a repository git would take the patch's paths to begin at its top.
	_, err = task.Output(ctx, dir, []string{"GIT_CEILING_DIRECTORIES=" + above}, "git", "apply", "--whitespace=nowarn", patch)
	return err
}

func moduleFile(stage, source, module string) error {
	name := filepath.Join(source, "go.mod")
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(stage, "go.mod"))
	if err != nil {
		return err
	}
	_, language, _ := bytes.Cut(raw, []byte("\ngo "))
	language, _, _ = bytes.Cut(language, []byte("\n"))
	return os.WriteFile(name, fmt.Appendf(nil, "module %s\n\ngo %s\n", module, language), 0o644)
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// sourcesOnly hides an upstream vendor directory from a copy, and read-only modes,
// which would keep the copy from being removed.
type sourcesOnly struct{ fs.FS }

func (s sourcesOnly) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() && e.Name() == "vendor" || strings.HasSuffix(e.Name(), "_test.go")
	}), err
}
