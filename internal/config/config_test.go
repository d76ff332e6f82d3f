package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "berth.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := write(t, `
[trust]
ca = ["/etc/corp.pem", "more"]
registry_ca = { "registry.corp:5000" = "registry.pem" }
[engine]
memory = "4g"
mirror = "off"
[mirror]
listen = ["127.0.0.1:5080"]
[mirror.upstream."registry.corp:5000"]
user = "ci"
password_file = "secret"
`)
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for got, want := range map[string]string{
		f.Trust.CA[0]: "/etc/corp.pem", f.Trust.CA[1]: dir + "/more",
		f.Trust.RegistryCA["registry.corp:5000"]:             dir + "/registry.pem",
		f.Mirror.Upstream["registry.corp:5000"].PasswordFile: dir + "/secret",
		f.Engine.Memory: "4g",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"[engine]\nmemmory = '4g'\n":            `:2: unknown key "engine.memmory"; did you mean memory?`,
		"[mirorr]\noffline = true\n":            `unknown key "mirorr`,
		"[mirror.upstream.'a.b']\nurll = 'x'\n": `:2: unknown key "mirror.upstream.a.b.urll"; did you mean url?`,
		"[engine]\nzzzzzzzzzzz = 1\n":           "known here: memory, cpus",
		"[engine]\nmemory = 4\n":                ":2:",
		"[engine\n":                             ":1:",
	} {
		_, err := Read(write(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %q in one line", text, err, want)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	t.Setenv(Env, "")
	if _, err := os.Stat(Default); err == nil {
		t.Skip(Default + " exists")
	}
	if f, err := Load(); err != nil || f.Path != "" {
		t.Errorf("got %v, %v", f, err)
	}
	t.Setenv(Env, "/no/such/file")
	if _, err := Load(); err == nil {
		t.Error("a file that was asked for and is missing is no error")
	}
}
