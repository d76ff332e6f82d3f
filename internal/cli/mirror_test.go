package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/trust"
)

func TestMirrorMistakes(t *testing.T) {
	t.Setenv("BERTH_RUN_DIR", t.TempDir())
	t.Setenv("BERTH_STATE_DIR", t.TempDir())
	t.Setenv(config.Env, "")
	for args, want := range map[string]string{
		"mirror serve --verify maybe":                                "choose once, always or never",
		"mirror serve --on-leave stay":                               "choose cancel or finish",
		"mirror serve --max-size lots":                               "not a size",
		"mirror serve --tag-ttl -1s":                                 "not a duration",
		"mirror serve --tls-cert x":                                  "belong together",
		"mirror serve --upstream https://x":                          "--upstream",
		"mirror serve --registry-ca x":                               "--registry-ca",
		"mirror serve --ca /no/such":                                 "--ca",
		"mirror serve --config /no/such":                             "no such file",
		"mirror serve --socket none":                                 "nothing to listen on",
		"mirror serve --socket none --listen 0.0.0.0:0 --plain-http": "loopback",
		"mirror serve --socket none --listen localhost --plain-http": "ADDRESS:PORT",
		"mirror status":                                              "no mirror is running",
		"mirror ls --dir /no/such":                                   "holds no mirror",
		"mirror ca":                                                  "no authority yet",
		"mirror prefetch busybox":                                    "no mirror is running",
		"mirror prefetch A!":                                         "no image",
		"mirror export A! -o x.tar":                                  "no image",
		"mirror export":                                              "-o PATH",
		"mirror export --dir /no/such -o x.tar busybox":              "holds no mirror",
		"mirror import /no/such":                                     "no such file",
		"mirror import /dev/null":                                    "not an OCI image layout",
		"mirror gc --size x":                                         "not a size",
		"mirror serv":                                                "did you mean serve?",
		"config check /no/such":                                      "no such file",
		"run --mirror on -- true":                                    "--mirror",
		"run --ca /no/such -- true":                                  "--ca",
		"doctor --registry https://x":                                "x",
	} {
		status, _, stderr := invoke(t, machine(), strings.Fields(args)...)
		if status == 0 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("berth %s: status %d, %q; want %q in one line", args, status, stderr, want)
		}
	}
}

// A name that is none is a mistake in the call, and found before there is work.
func TestBadNamesAreUsageErrors(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.tar")
	for _, args := range [][]string{
		{"image", "build", "-o", out, "--name", "Bad Name"},
		{"mirror", "import", "--as", "B R", "/no/such"},
	} {
		status, _, stderr := invoke(t, machine(), args...)
		if status != statusUsage || strings.Count(stderr, "\n") != 1 {
			t.Errorf("berth %q: status %d, %q", args, status, stderr)
		}
	}
}

func TestConfigurationFile(t *testing.T) {
	dir := t.TempDir()
	a, err := trust.NewAuthority("x")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ca.pem": a.PEM(), "berth.toml": `
[trust]
ca = ["ca.pem"]
registry_ca = { "r.test" = "ca.pem" }
insecure_registry = ["i.test"]
[engine]
memory = "1g"
mirror = "off"
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(config.Env, filepath.Join(dir, "berth.toml"))
	for _, test := range []struct {
		args   string
		memory int64
	}{{"up", 1 << 30}, {"up --memory 2g", 2 << 30}} {
		f := machine()
		if status, _, stderr := invoke(t, f, strings.Fields(test.args)...); f.started == nil {
			t.Fatalf("%s: status %d, %s", test.args, status, stderr)
		}
		s := f.started[0]
		if s.Limits.Memory != test.memory || s.Trust.Mirror != "off" || s.Trust.CAs != a.PEM() || len(s.RegistryCAs) != 1 || len(s.Trust.Insecure) != 1 {
			t.Errorf("%s: %+v", test.args, s)
		}
	}
	if status, out, stderr := invoke(t, machine(), "config", "check"); status != 0 || !strings.Contains(out, "is right") {
		t.Errorf("status %d, %s%s", status, out, stderr)
	}
}
