package boot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/internal/pid1"
)

func TestHubMirrorFiles(t *testing.T) {
	const want = `server = "https://registry-1.docker.io"
[host."https://m.example"]
  capabilities = ["pull", "resolve"]
  ca = ["/etc/docker/certs.d/m.example/ca.crt"]
`
	for _, c := range []struct {
		name, args, config, files, want string
	}{
		{"a mirror with an authority", "--registry-mirror=https://m.example", "", "m.example/ca.crt", want},
		{"as two words, with a slash", "--registry-mirror https://m.example/", "", "m.example/ca.crt", want},
		{"in daemon.json", "", `{"registry-mirrors":["https://m.example"]}`, "m.example/ca.crt", want},
		{"a client certificate", "--registry-mirror=https://m:5000", "", "m:5000/a.cert m:5000/a.key",
			`server = "https://registry-1.docker.io"
[host."https://m:5000"]
  capabilities = ["pull", "resolve"]
  client = [["/etc/docker/certs.d/m:5000/a.cert", "/etc/docker/certs.d/m:5000/a.key"]]
`},
		{"no certificates", "--registry-mirror=https://m.example", "", "other.example/ca.crt", ""},
		{"no mirror", "", "", "m.example/ca.crt", ""},
		{"settings for Docker Hub", "--registry-mirror=https://m.example", "", "m.example/ca.crt docker.io/hosts.toml", ""},
		{"a mirror without TLS beside it", "--registry-mirror=https://m.example --registry-mirror=http://n", "", "m.example/ca.crt", ""},
		{"insecure registries", "--registry-mirror=https://m.example --insecure-registry=m.example", "", "m.example/ca.crt", ""},
	} {
		p, err := parse(strings.Fields(c.args), nil)
		if err != nil {
			t.Fatal(err)
		}
		p.config = []byte(c.config)
		var files []pid1.File
		for _, name := range strings.Fields(c.files) {
			files = append(files, pid1.File{Path: certsD + "/" + name})
		}
		got := ""
		for _, f := range p.hubMirrorFiles(files) {
			got += f.Data
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}
