package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/internal/engine"
)

func TestParseMemory(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "64m": 64 << 20, "512M": 512 << 20, "1g": 1 << 30, "1.5g": 3 << 29, "67108864": 64 << 20, "2GiB": 2 << 30,
	} {
		if got, err := parseMemory(in); err != nil || got != want {
			t.Errorf("parseMemory(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "-1g", "lots", "1x", "NaN"} {
		if got, err := parseMemory(in); err == nil {
			t.Errorf("parseMemory(%q) = %d; want an error", in, got)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for in, want := range map[string]float64{"": 0, "1": 1, "1.5": 1.5, "0.01": 0.01} {
		if got, err := parseCPUs(in); err != nil || got != want {
			t.Errorf("parseCPUs(%q) = %g, %v; want %g", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "NaN", "Inf", "two"} {
		if got, err := parseCPUs(in); err == nil {
			t.Errorf("parseCPUs(%q) = %g; want an error", in, got)
		}
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]engine.Host{
		"registry.test:10.0.0.1":       {Name: "registry.test", Addr: "10.0.0.1"},
		"registry.test=10.0.0.1":       {Name: "registry.test", Addr: "10.0.0.1"},
		"Registry.Test:host-gateway":   {Name: "registry.test", Addr: "host-gateway"},
		"six:2001:db8::1":              {Name: "six", Addr: "2001:db8::1"},
		"six:[2001:db8::1]":            {Name: "six", Addr: "2001:db8::1"},
		"under_score.example:10.1.1.1": {Name: "under_score.example", Addr: "10.1.1.1"},
	} {
		got, err := parseHost(in)
		if err != nil {
			t.Errorf("parseHost(%q): %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("parseHost(%q) (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{"", "name", "name:", "name:10.0.0", "name:other", "n:fe80::1%eth0"} {
		if got, err := parseHost(in); err == nil {
			t.Errorf("parseHost(%q) = %v; want an error", in, got)
		}
	}
}

func TestReadDaemonConfig(t *testing.T) {
	for content, ok := range map[string]bool{
		`{"debug": true}`: true, `{}`: true, `[]`: false, `null`: false, ``: false, `{"debug": true`: false, `"x"`: false,
	} {
		file := filepath.Join(t.TempDir(), "daemon.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readDaemonConfig(file); (err == nil) != ok {
			t.Errorf("readDaemonConfig of %q: error %v", content, err)
		}
	}
	if _, err := readDaemonConfig(t.TempDir()); err == nil {
		t.Error("readDaemonConfig of a directory: no error")
	}
}

func TestShares(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	rules := shareRules(func(path string) string {
		if path == "/" {
			return "too much"
		}
		return ""
	})
	for flag, want := range map[string]engine.Share{
		dir:              {Path: dir},
		dir + ":ro":      {Path: dir, ReadOnly: true},
		dir + ":rw":      {Path: dir},
		dir + "/link:ro": {Path: dir, ReadOnly: true},
		dir + "/":        {Path: dir},
	} {
		got, err := rules.parse(flag)
		if err != nil {
			t.Errorf("parse(%q): %v", flag, err)
			continue
		}
		if got.Inode == 0 {
			t.Errorf("parse(%q): the file is not recorded", flag)
		}
		got.Device, got.Inode = 0, 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("parse(%q) (-want +got):\n%s", flag, diff)
		}
	}
	for _, flag := range []string{"", ":ro", "/", "/:ro", dir + "/missing", "/dev/null", dir + ":rx"} {
		if got, err := rules.parse(flag); err == nil {
			t.Errorf("parse(%q) = %v; want an error", flag, got)
		}
	}
}

func TestWorkDirIsShared(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	no := func(string) string { return "" }
	for _, test := range []struct {
		name  string
		flags engineFlags
		rules shareRules
		want  []string
		note  bool
	}{
		{"by default", engineFlags{}, no, []string{dir}, false},
		{"not when told", engineFlags{noShareCWD: true}, no, nil, false},
		{"once", engineFlags{shares: []string{dir + ":ro"}}, no, []string{dir}, false},
		{"before what is in it", engineFlags{shares: []string{dir + "/inner:ro"}}, no, []string{dir, dir + "/inner"}, false},
		{"not when it cannot be", engineFlags{}, func(string) string { return "no" }, nil, true},
	} {
		test.flags.net = "veth"
		r, err := test.flags.parse(test.rules)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var got []string
		for _, s := range r.spec.Shares {
			got = append(got, s.Path)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if (r.note != "") != test.note {
			t.Errorf("%s: note %q", test.name, r.note)
		}
	}
	t.Chdir("/")
	f := engineFlags{net: "veth"}
	if r, err := f.parse(func(string) string { return "no" }); err != nil || r.note != "" || r.spec.Shares != nil {
		t.Errorf("in /: %+v, %v; want neither a share nor a note", r, err)
	}
}

func FuzzParseHost(f *testing.F) {
	f.Add("registry.test:10.0.0.1")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHost(s)
		if err == nil && strings.ContainsAny(h.Name+h.Addr, " \n\t") {
			t.Errorf("parseHost(%q) = %q", s, h)
		}
	})
}
