// Package architecture holds the repository to its own rules: what may import what, what
// is said of a package, which licences the binary contains. It has tests only.
//
// A rule that has to be broken is changed here, with its reason, not worked around.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// source is one Go file of the root module.
type source struct {
	path string // relative to the repository
	test bool
	file *ast.File
	text string
}

func (s source) dir() string { return filepath.Dir(s.path) }

// sources parses all Go files of the root module; nested modules keep their own rules.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || nested(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{rel, strings.HasSuffix(rel, "_test.go"), file, string(text)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d files found; is %s the repository?", len(out), root)
	}
	return out
}

func nested(dir string) bool {
	if dir == root {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestPackagesHaveComments(t *testing.T) {
	documented, name := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command "
		}
		documented[s.dir()] = documented[s.dir()] || s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), want)
		name[s.dir()] = want
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no comment that begins with %q; say what the package is for, its units, and what it must not know", dir, name[dir])
		}
	}
}

func TestMainsOnlyWire(t *testing.T) {
	const most = 40 // lines
	for _, s := range sources(t) {
		if s.test || filepath.Base(s.path) != "main.go" || !strings.HasPrefix(s.path, "cmd/") {
			continue
		}
		if n := strings.Count(s.text, "\n"); n > most {
			t.Errorf("%s has %d lines; main only wires, at most %d", s.path, n, most)
		}
	}
}

func TestNoCatchAllPackages(t *testing.T) {
	for _, s := range sources(t) {
		switch s.file.Name.Name {
		case "util", "utils", "common", "helpers", "misc":
			t.Errorf("%s: package %s; name it after what it provides", s.path, s.file.Name.Name)
		}
	}
}

func TestNothingRunsAtInitialisation(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init; every start of berth would pay for it, call it where it is needed", s.path)
			}
		}
	}
}

// calls lists the selectors that a file uses, as "time.Sleep".
func calls(f *ast.File) map[string]bool {
	out := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				out[pkg.Name+"."+sel.Sel.Name] = true
			}
		}
		return true
	})
	return out
}

func TestNobodySleeps(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && calls(s.file)["time.Sleep"] {
			t.Errorf("%s: time.Sleep; wait for the event instead", s.path)
		}
	}
}

func TestRawSystemCallsAreInOnePlace(t *testing.T) {
	allowed := map[string]string{
		"internal/linux":   "the package for them",
		"internal/command": "changes the user of one thread, which Go's wrappers do for all",
	}
	raw := []string{
		"unix.Syscall", "unix.Syscall6", "unix.RawSyscall", "unix.RawSyscall6",
		"syscall.Syscall", "syscall.Syscall6", "syscall.RawSyscall", "syscall.RawSyscall6",
	}
	for _, s := range sources(t) {
		if s.test || allowed[s.dir()] != "" {
			continue
		}
		for _, call := range raw {
			if calls(s.file)[call] {
				t.Errorf("%s: %s; raw system calls belong to internal/linux", s.path, call)
			}
		}
	}
}

func TestCgroupVersionsAreKnownToOnePackage(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.dir(), "internal/cgroup") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				for _, file := range []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.controllers", "memory.max", "memory.limit_in_bytes", "cpu.cfs_quota_us"} {
					if strings.Contains(lit.Value, file) {
						t.Errorf("%s: %s; only internal/cgroup knows v1 from v2", s.path, lit.Value)
					}
				}
			}
			return true
		})
	}
}
