package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/licensecheck"
)

// compatible are the licences whose code may be distributed in a binary under Apache-2.0,
// with its notices. MPL-2.0 asks for the sources of its own files, which are public.
var compatible = map[string]bool{
	"Apache-2.0": true, "MIT": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "ISC": true,
	"MPL-2.0": true, "0BSD": true, "CC0-1.0": true, "Unlicense": true,
}

var licenceFile = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying)([.-].*)?$`)

func TestLicencesAllowDistribution(t *testing.T) {
	seen := map[string]bool{}
	for _, line := range list(t, "-deps", "-f", `{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}`, "./cmd/...") {
		path, dir, ok := strings.Cut(line, " ")
		if !ok || seen[path] {
			continue
		}
		seen[path] = true
		ids := licences(t, dir)
		if len(ids) == 0 {
			t.Errorf("%s: no licence found in %s", path, dir)
		}
		for _, id := range ids {
			if !compatible[id] {
				t.Errorf("%s is under %s, which is not among those known to be compatible", path, id)
			}
		}
	}
	if len(seen) < 5 {
		t.Errorf("only %d modules looked at", len(seen))
	}
}

// licences names those of the files that by convention hold a module's licence.
func licences(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		// The licence of a module's documentation, which is not distributed, is another matter.
		if e.IsDir() || !licenceFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".docs") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range licensecheck.Scan(text).Match {
			if !m.IsURL {
				ids = append(ids, m.ID)
			}
		}
	}
	return ids
}

func TestOwnLicence(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	if c := licensecheck.Scan(text); len(c.Match) != 1 || c.Match[0].ID != "Apache-2.0" {
		t.Errorf("LICENSE is not the text of Apache-2.0: %+v", c.Match)
	}
}
