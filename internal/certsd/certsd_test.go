package certsd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree has files by their paths, each with its own path as text.
func tree(paths ...string) Tree {
	t := Tree{}
	for _, p := range paths {
		t.add(filepath.Dir(p), filepath.Base(p), p)
	}
	return t
}

const hubHead = "server = \"https://registry-1.docker.io\"\n[host.\"https://m.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n"

func TestMirrorsOfDockerHub(t *testing.T) {
	const want = hubHead + "  ca = [\"/etc/docker/certs.d/m.example/ca.crt\"]\n"
	for _, c := range []struct {
		name              string
		mirrors, insecure string
		user              Tree
		want              string
	}{
		{"an authority", "https://m.example", "", tree("m.example/ca.crt"), want},
		{"a slash", "https://m.example/", "", tree("m.example/ca.crt"), want},
		{"a client certificate", "https://m:5000", "", tree("m:5000/a.cert", "m:5000/a.key"), `server = "https://registry-1.docker.io"
[host."https://m:5000"]
  capabilities = ["pull", "resolve"]
  client = [["/etc/docker/certs.d/m:5000/a.cert", "/etc/docker/certs.d/m:5000/a.key"]]
`},
		{"a mirror without TLS after it", "https://m.example http://n", "", tree("m.example/ca.crt"), want + "[host.\"http://n\"]\n  capabilities = [\"pull\", \"resolve\"]\n"},
		{"no certificates", "https://m.example", "", tree("other.example/ca.crt"), ""},
		{"no mirror", "", "", tree("m.example/ca.crt"), ""},
		{"settings for Docker Hub", "https://m.example", "", tree("m.example/ca.crt", "docker.io/hosts.toml"), "docker.io/hosts.toml"},
		{"an insecure mirror", "https://m.example", "m.example", tree("m.example/ca.crt"), ""},
		{"insecure networks", "https://m.example", "10.0.0.0/8", tree("m.example/ca.crt"), ""},
		{"another insecure registry", "https://m.example", "n", tree("m.example/ca.crt"), want},
	} {
		got := Make(Settings{User: c.user, HubMirrors: strings.Fields(c.mirrors), Insecure: strings.Fields(c.insecure)})
		if d := cmp.Diff(c.want, got["docker.io"]["hosts.toml"]); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestMirrorBesideATree: every registry is asked for by way of the mirror, those with
// certificates of the user's too, but where he or dockerd's settings say something else.
func TestMirrorBesideATree(t *testing.T) {
	got := Make(Settings{
		User: tree("r.test/ca.crt", "own.test/hosts.toml", "m.test/ca.crt"), CAs: []CA{{"r.test", "FLAG"}, {"f.test:5000", "FLAG"}},
		Mirror: "https://m.test/", HubMirrors: []string{"https://h.test"}, Insecure: []string{"i.test", "10.0.0.0/8", "../x"},
	})
	host := "[host.\"https://m.test\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = [\"/etc/docker/certs.d/m.test/ca.crt\"]\n"
	left := "dockerd's own settings hold for this registry.\n"
	want := Tree{
		"_default":    {"hosts.toml": host},
		"r.test":      {"ca.crt": "r.test/ca.crt", "hosts.toml": "server = \"https://r.test\"\nca = [\"ca.crt\"]\n" + host},
		"f.test:5000": {"ca.crt": "FLAG", "hosts.toml": "server = \"https://f.test:5000\"\nca = [\"ca.crt\"]\n" + host},
		"own.test":    {"hosts.toml": "own.test/hosts.toml"},
		"m.test":      {"ca.crt": "m.test/ca.crt"},
		"docker.io":   {"README": left},
		"i.test":      {"README": left},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestMirrorOnly: registries are there to push to.
func TestMirrorOnly(t *testing.T) {
	got := Make(Settings{User: tree("r.test/ca.crt", "m.test/ca.crt"), Mirror: "https://m.test", MirrorOnly: true})
	ca := "ca = [\"/etc/docker/certs.d/m.test/ca.crt\"]\n"
	for registry, want := range map[string]string{
		"_default": "server = \"https://m.test\"\ncapabilities = [\"pull\", \"resolve\"]\n" + ca,
		"r.test":   "server = \"https://r.test\"\nca = [\"ca.crt\"]\ncapabilities = [\"push\"]\n[host.\"https://m.test\"]\n  capabilities = [\"pull\", \"resolve\"]\n  " + ca,
	} {
		if d := cmp.Diff(want, got[registry]["hosts.toml"]); d != "" {
			t.Errorf("%s: %s", registry, d)
		}
	}
}

// TestRead takes a tree as kubelet makes one of a ConfigMap: of links.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "..2026", "r.test:5000")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ca.crt": "CA", "notes": "x"} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"..data": "..2026", "r.test:5000": "..data/r.test:5000"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if d := cmp.Diff(Tree{"r.test:5000": {"ca.crt": "CA"}}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if err := os.WriteFile(filepath.Join(data, "large.crt"), make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "large.crt") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("no directory is no error")
	}
}

func TestCheckRegistry(t *testing.T) {
	for name, good := range map[string]bool{
		"r.test": true, "r.test:5000": true, "[::1]:5000": true, "10.0.0.1": true,
		"": false, "..": false, "a/b": false, "r.test:0": false, "r.test:99999": false, "https://r.test": false, "a\nb": false, "a b": false,
	} {
		if err := CheckRegistry(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
