package main

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Run in the repository's root directory, as the command is.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestEveryModuleIsPinned(t *testing.T) {
	for _, m := range modules {
		raw, err := os.ReadFile(filepath.Join(m.path(), "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), m.upstream+" v") {
			t.Errorf("%s/go.mod does not pin %s", m.path(), m.upstream)
		}
	}
	if names := slices.Sorted(maps.Keys(debs)); !slices.Equal(names, debNames) {
		t.Errorf("programs come from %v, downloaded are %v", names, debNames)
	}
}

func TestAPartIsBuiltOnlyWhenItsInputsChange(t *testing.T) {
	t.Chdir(t.TempDir())
	inputs, builds := "a", 0
	p := &part{
		name: "x", programs: []string{"x"},
		inputs: func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, inputs)
			return err
		},
		build: func(_ context.Context, bin string) error {
			builds++
			return os.WriteFile(filepath.Join(bin, "x"), nil, 0o755)
		},
	}
	for _, step := range []struct {
		what string
		do   func()
		want int
	}{
		{"the first time", func() {}, 1},
		{"nothing changed", func() {}, 1},
		{"inputs changed", func() { inputs = "b" }, 2},
		{"a program is gone", func() { os.Remove(filepath.Join(cacheDir, "bin/x")) }, 3},
	} {
		step.do()
		if err := p.update(t.Context()); err != nil || builds != step.want {
			t.Errorf("%s: built %d times (%v), want %d", step.what, builds, err, step.want)
		}
	}
}
