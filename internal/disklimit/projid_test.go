package disklimit

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Projects that the administrator has named are not berth's to take.
func TestNamedProjects(t *testing.T) {
	dir := t.TempDir()
	projid, projects := filepath.Join(dir, "projid"), filepath.Join(dir, "projects")
	for path, text := range map[string]string{
		projid:   "# names\nwww:1073741824\nbroken\nhome:x\n: 7\n",
		projects: "1073741825:/srv/www\n9:/srv/other:more\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := named([]projectFile{{projid, 1}, {projects, 0}, {filepath.Join(dir, "none"), 0}})
	if ids := slices.Sorted(maps.Keys(got)); err != nil || !slices.Equal(ids, []uint32{7, 9, 1 << 30, 1<<30 + 1}) {
		t.Errorf("%v, %v", ids, err)
	}
}

func FuzzNamedProjects(f *testing.F) {
	f.Add("www:1073741824\n", 1)
	f.Add("1:/srv\n:\n::\n", 0)
	f.Fuzz(func(t *testing.T, text string, field int) {
		if field < 0 {
			return
		}
		all := map[uint32]bool{}
		if err := addProjects(all, strings.NewReader(text), field); err == nil && len(all) > strings.Count(text, "\n")+1 {
			t.Errorf("%d projects in %q", len(all), text)
		}
	})
}
