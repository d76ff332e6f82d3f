package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/certsd"
)

func TestBuilderFiles(t *testing.T) {
	if got := (&builder{}).files(); got != nil {
		t.Errorf("nothing to say: %v", got)
	}
	certs := certsd.Tree{"_default": {"hosts.toml": "x"}, "r.test:5000": {"ca.crt": "R"}, "old.test": {"README": "x"}, "m.test:5443": {"ca.crt": "M"}}
	got := (&builder{mirror: "m.test:5443", cas: "ALL", certs: certs, insecure: []string{"i.test"}, dir: "/d"}).files()
	for _, want := range []string{
		"[registry.\"docker.io\"]\n  mirrors = [\"m.test:5443\"]\n  ca = [\"/d/docker.io.crt\"]\n",
		"[registry.\"r.test:5000\"]\n  mirrors = [\"m.test:5443\"]\n  ca = [\"/d/r.test_5000.crt\"]\n",
		"[registry.\"m.test:5443\"]\n  ca = [\"/d/m.test_5443.crt\"]\n",
		"[registry.\"i.test\"]\n  mirrors = [\"m.test:5443\"]\n  insecure = true\n",
		"[registry.\"old.test\"]\n  ca = ",
	} {
		if !strings.Contains(got[builderConfig], want) {
			t.Errorf("no %q in\n%s", want, got[builderConfig])
		}
	}
	if got["r.test_5000.crt"] != "ALLR\n" || strings.Contains(got[builderConfig], "_default") {
		t.Errorf("%v", got)
	}
	plain := (&builder{mirror: "198.18.0.3:19519", plain: true}).files()[builderConfig]
	if !strings.Contains(plain, "[registry.\"198.18.0.3:19519\"]\n  http = true\n") {
		t.Error(plain)
	}
}

func TestMakeOwned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "buildx")
	if err := makeOwned(dir, map[string]string{"a": "x"}, Owner{os.Getuid(), os.Getgid()}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "a"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
}
