package diskusage

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for _, d := range []string{one, two + "/deep"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const size = 1 << 20
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(one + "/own")
	write(one + "/both")
	write(dir + "/outside")
	for from, to := range map[string]string{one + "/both": two + "/deep/both", one + "/own": one + "/again"} {
		if err := os.Link(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, two+"/out"); err != nil {
		t.Fatal(err)
	}
	uses, total, err := Measure(t.Context(), []Holder{{Paths: []string{one}}, {Paths: []string{two, dir + "/none"}, Known: size}})
	if err != nil {
		t.Fatal(err)
	}
	about := func(got, want int64) bool { return got >= want && got < want+size/4 }
	if !about(uses[0].Own, size) || !about(uses[0].Shared, size) || !about(uses[1].Own, size) || !about(uses[1].Shared, size) || !about(total, 3*size) {
		t.Errorf("%+v, %d in all", uses, total)
	}
}
