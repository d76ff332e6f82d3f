package state

import (
	"os"
	"strings"
	"testing"
)

func TestFromEnv(t *testing.T) {
	p, err := FromEnv()
	if err != nil || p.Run != DefaultRun || p.State != DefaultState {
		t.Errorf("%+v, %v", p, err)
	}
	t.Setenv(EnvRunDir, "/a/../r/")
	t.Setenv(EnvStateDir, "/s")
	if p, err := FromEnv(); err != nil || p.Run != "/r" || p.State != "/s" {
		t.Errorf("%+v, %v", p, err)
	}
	t.Setenv(EnvRunDir, "relative")
	if _, err := FromEnv(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a relative directory: %v", err)
	}
	t.Setenv(EnvRunDir, "/"+strings.Repeat("x", 100))
	if _, err := FromEnv(); err == nil {
		t.Error("a directory too long for a socket was accepted")
	}
}

func TestPatterns(t *testing.T) {
	for s, want := range map[string]bool{"0123456789ab": true, "0123456789aB": false, "0123": false, "../../../../": false} {
		if IDPattern().MatchString(s) != want {
			t.Errorf("id %q: want %v", s, want)
		}
	}
	for s, want := range map[string]bool{"a": true, "ci-1": true, "-a": false, "A": false, "a/b": false, "": false, "..": false} {
		if NamePattern().MatchString(s) != want {
			t.Errorf("name %q: want %v", s, want)
		}
	}
}

func TestPrepareTwice(t *testing.T) {
	p := Paths{Run: t.TempDir() + "/r", State: t.TempDir() + "/s"}
	for range 2 {
		if err := p.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
}

// What engines and archives filled is out of others' reach, also where an older berth made it.
func TestPrepareCloses(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Run: dir + "/run", State: dir + "/state"}
	private := []string{p.Runtime(), p.Network(), p.StateEngines(), p.Snapshots(), p.Trash()}
	for _, d := range private {
		if err := os.MkdirAll(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, d := range private {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
}
