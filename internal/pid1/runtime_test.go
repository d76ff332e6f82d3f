package pid1

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestBundleOf(t *testing.T) {
	for args, want := range map[string]string{
		"--root /r --log /l create --bundle /b --pid-file /p id": "/b",
		"run -b=/b id":   "/b",
		"create id":      ".",
		"state id":       "",
		"delete --force": "",
	} {
		if got := bundleOf(strings.Fields(args)); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestReadOnlySysfs(t *testing.T) {
	const bundle = `{"ociVersion":"1.2.0","mounts":[
		{"destination":"/proc","type":"proc","options":["rw"]},
		{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","rw"]}],"linux":{"x":9007199254740993}}`
	got, err := withReadOnlySysfs([]byte(bundle))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Mounts []struct {
			Destination string
			Options     []string
		}
	}
	if err := json.Unmarshal(got, &c); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Mounts[1].Options, []string{"nosuid", "ro"}) || !slices.Equal(c.Mounts[0].Options, []string{"rw"}) {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(string(got), "9007199254740993") {
		t.Errorf("a number changed: %s", got)
	}
	if again, err := withReadOnlySysfs(got); again != nil || err != nil {
		t.Errorf("changed again: %s, %v", again, err)
	}
	if none, err := withReadOnlySysfs([]byte(`{}`)); none != nil || err != nil {
		t.Errorf("a bundle without mounts: %s, %v", none, err)
	}
}

func FuzzReadOnlySysfs(f *testing.F) {
	f.Add([]byte(`{"mounts":[{"type":"sysfs"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := withReadOnlySysfs(b)
		if err != nil || got == nil {
			return
		}
		if again, err := withReadOnlySysfs(got); err != nil || again != nil {
			t.Errorf("%q became %q, and that %q (%v)", b, got, again, err)
		}
	})
}
