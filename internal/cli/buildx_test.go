package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEnvOfBuilders: `berth env` tells buildx of the engine's settings for builders in
// containers, unless the user has some of his own.
func TestEnvOfBuilders(t *testing.T) {
	f := machine()
	for i := range f.all {
		f.all[i].Buildx = "/run/berth/engines/aaaaaaaaaaaa/buildx"
	}
	const line = "export BUILDX_CONFIG='/run/berth/engines/aaaaaaaaaaaa/buildx'\n"
	docker := t.TempDir()
	t.Setenv("DOCKER_CONFIG", docker)
	t.Setenv("BUILDX_CONFIG", "")
	if _, out, _ := invoke(t, f, "env", "web"); !strings.Contains(out, line) {
		t.Errorf("%q lacks %q", out, line)
	}
	if _, out, _ := invoke(t, f, "env", "--json", "web"); !strings.Contains(out, `"BUILDX_CONFIG":"/run/berth/engines/aaaaaaaaaaaa/buildx"`) {
		t.Errorf("--json: %q", out)
	}
	if _, out, _ := invoke(t, f, "env", "--unset"); !strings.Contains(out, "unset BUILDX_CONFIG") {
		t.Errorf("--unset: %q", out)
	}
	t.Setenv("BUILDX_CONFIG", "/mine")
	if _, out, _ := invoke(t, f, "env", "web"); strings.Contains(out, "BUILDX_CONFIG") {
		t.Errorf("with one of the user's: %q", out)
	}
	t.Setenv("BUILDX_CONFIG", "")
	if err := os.Mkdir(filepath.Join(docker, "buildx"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(docker, "buildx", "buildkitd.default.toml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := invoke(t, f, "env", "web"); strings.Contains(out, "BUILDX_CONFIG") {
		t.Errorf("with a buildkitd.default.toml of the user's: %q", out)
	}
}
