package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-dev/berth/hack/task"
	"github.com/berth-dev/berth/internal/payload"
)

// goProgram is a component compiled from an upstream Go module.
type goProgram struct {
	name      string            // of the component and of its directory below payload
	module    string            // upstream's module path
	product   string            // what the SBOM and `berth version` call it
	licence   string            // SPDX identifier
	packages  map[string]string // package path within the module → path in the tree
	links     map[string]string // symbolic links to add: path in the tree → target
	tags      string            // build tags
	stamps    []string          // linker -X settings
	libraries []string          // pkg-config names of the C libraries used
	cgo       bool
	static    bool // link C libraries statically
}

func (p *goProgram) dir() string { return filepath.Join("payload", p.name) }

func (p *goProgram) component() *component {
	return &component{name: p.name, inputs: p.inputs, build: p.build}
}

// inputs are the pins, the settings above, the toolchain, the versions of the C
// libraries and what is changed of upstream's sources.
func (p *goProgram) inputs(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "%+v %v\n", *p, engineVersions)
	toolchain, err := p.output(ctx, "go", "env", "GOVERSION", "GOARCH", "GOAMD64", "GOARM64")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", toolchain)
	if len(p.libraries) > 0 {
		versions, err := p.output(ctx, "pkg-config", append([]string{"--modversion"}, p.libraries...)...)
		if err != nil {
			return fmt.Errorf("%w: install what is needed with `make deps`", err)
		}
		fmt.Fprintf(w, "%s\n", versions)
	}
	return filepath.WalkDir(p.dir(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return hashFile(w, name)
	})
}

func (p *goProgram) build(ctx context.Context, dir string) (*contents, error) {
	stage, err := p.stage(ctx, dir)
	if err != nil {
		return nil, err
	}
	version, err := p.require(p.module)
	if err != nil {
		return nil, err
	}
	ldflags, err := p.ldflags(ctx, version)
	if err != nil {
		return nil, err
	}
	made := &contents{packages: []payload.Package{{
		Name: p.product, Version: p.release(version), Licence: p.licence,
		PURL: "pkg:golang/" + p.module + "@" + version,
	}}}
	var programs []string
	for _, pkg := range slices.Sorted(maps.Keys(p.packages)) {
		dest := p.packages[pkg]
		program := filepath.Join(dir, path.Base(dest))
		out, err := filepath.Abs(program)
		if err != nil {
			return nil, err
		}
		args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", p.tags, "-ldflags", ldflags, "-o", out, path.Join(p.module, pkg)}
		if _, err := p.outputIn(ctx, stage, "go", args...); err != nil {
			return nil, err
		}
		programs = append(programs, program)
		made.entries = append(made.entries, entry{path: dest, mode: 0o755, source: program})
	}
	for _, name := range slices.Sorted(maps.Keys(p.links)) {
		made.entries = append(made.entries, entry{path: name, link: p.links[name]})
	}
	notices, err := p.notices(ctx, stage, programs)
	made.entries = append(made.entries, notices)
	return made, err
}

// release is the version that users know.
func (p *goProgram) release(version string) string {
	return cmp.Or(engineVersions[version], semver(version))
}

func semver(version string) string {
	return strings.TrimSuffix(strings.TrimPrefix(version, "v"), "+incompatible")
}

var placeholder = regexp.MustCompile(`\{[^}]+\}`)

// ldflags fills in the stamps.
func (p *goProgram) ldflags(ctx context.Context, version string) (string, error) {
	flags := []string{"-s", "-w", "-buildid="}
	if p.static {
		flags = append(flags, "-linkmode", "external", "-extldflags", "-static")
	}
	var failed error
	for _, stamp := range p.stamps {
		flags = append(flags, "-X", placeholder.ReplaceAllStringFunc(stamp, func(name string) string {
			value, err := p.value(ctx, strings.Trim(name, "{}"), version)
			failed = cmp.Or(failed, err)
			return value
		}))
	}
	return strings.Join(flags, " "), failed
}

func (p *goProgram) value(ctx context.Context, name, version string) (string, error) {
	switch name {
	case "version":
		return version, nil
	case "semver":
		return semver(version), nil
	case "engine":
		release, ok := engineVersions[version]
		if !ok {
			return "", fmt.Errorf("which Docker Engine release is moby %s? Add it to engineVersions in hack/payload/components.go", version)
		}
		return release, nil
	case "time":
		return p.tagTime(ctx)
	}
	if module, ok := strings.CutPrefix(name, "version:"); ok {
		return p.require(module)
	}
	return "", fmt.Errorf("unknown placeholder {%s}", name)
}

// require returns the version of module in the component's go.mod.
func (p *goProgram) require(module string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(p.dir(), "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s/go.mod does not require %s", p.dir(), module)
}

// tagTime is when upstream tagged the version: a build time that is true of the
// sources and the same in every build.
func (p *goProgram) tagTime(ctx context.Context) (string, error) {
	raw, err := p.output(ctx, "go", "list", "-m", "-json", p.module)
	if err != nil {
		return "", err
	}
	var module struct{ Time string }
	if err := json.Unmarshal(raw, &module); err != nil {
		return "", err
	}
	return module.Time, nil
}

func (p *goProgram) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	return p.outputIn(ctx, p.dir(), name, args...)
}

// outputIn runs a program in dir and returns its standard output; a failure's error
// holds what it wrote to standard error.
func (p *goProgram) outputIn(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cgo := "CGO_ENABLED=0"
	if p.cgo {
		cgo = "CGO_ENABLED=1"
	}
	return task.Output(ctx, dir, []string{cgo, "GOOS=linux", "GOFLAGS=", "GOWORK=off"}, name, args...)
}
