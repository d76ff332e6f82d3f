package payload

import (
	"encoding/json"
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestManifestRefuses(t *testing.T) {
	sum := strings.Repeat("a", 64)
	good := File{Path: "rootfs/a", Mode: 0o755, SHA256: sum}
	for name, files := range map[string][]File{
		"parent":         {{Path: "../x", Mode: 0o755, SHA256: sum}},
		"hidden parent":  {{Path: "rootfs/../../x", Mode: 0o755, SHA256: sum}},
		"absolute":       {{Path: "/x", Mode: 0o755, SHA256: sum}},
		"root":           {{Path: ".", Mode: 0o755, SHA256: sum}},
		"empty":          {{Path: "", Mode: 0o755, SHA256: sum}},
		"new line":       {{Path: "a\nb", Mode: 0o755, SHA256: sum}},
		"setuid":         {{Path: "a", Mode: 0o4755, SHA256: sum}},
		"world-writable": {{Path: "a", Mode: 0o777, SHA256: sum}},
		"no digest":      {{Path: "a", Mode: 0o755}},
		"negative size":  {{Path: "a", Mode: 0o755, SHA256: sum, Size: -1}},
		"link out":       {{Path: "a/b", Link: "../../x"}},
		"absolute link":  {{Path: "a", Link: "/x"}},
		"link to itself": {{Path: "a", Link: "."}},
		"twice":          {good, good},
		"below a file":   {good, {Path: "rootfs/a/b", Mode: 0o755, SHA256: sum}},
		"below a link":   {{Path: "rootfs/l", Link: "m"}, {Path: "rootfs/l/b", Mode: 0o755, SHA256: sum}},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(Manifest{Version: ManifestVersion, Components: []Component{{Archive: "a.zst", Files: files}}})
			if err != nil {
				t.Fatal(err)
			}
			var corrupt *CorruptError
			if _, err := ParseManifest(raw); !errors.As(err, &corrupt) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(fakeFS(f, fakeFiles())[manifestName].Data))
	f.Add([]byte(`{"version":1,"components":[{"archive":"a","files":[{"path":"a","link":"b"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			return
		}
		for file := range m.files {
			if !filepath.IsLocal(file.Path) || strings.ContainsAny(file.Path, "\n\x00") {
				t.Errorf("accepted path %q", file.Path)
			}
			if file.Link != "" && !filepath.IsLocal(path.Join(path.Dir(file.Path), file.Link)) {
				t.Errorf("accepted link %q to %q", file.Path, file.Link)
			}
			if file.Mode&^0o755 != 0 {
				t.Errorf("accepted mode %o", file.Mode)
			}
		}
	})
}
