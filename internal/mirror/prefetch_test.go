package mirror

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// reach makes requests for any host to one server.
func reach(s *httptest.Server) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}}
}

func TestPrefetch(t *testing.T) {
	f := newFake(t)
	layer, config := f.push(random(1<<20)), f.push(random(100))
	d := func(v any) map[string]any { return map[string]any{"digest": v, "size": 1} }
	one, _ := json.Marshal(map[string]any{"schemaVersion": 2, "config": d(config), "layers": []any{d(layer)}})
	amd := d(f.push(one))
	amd["platform"] = map[string]string{"os": "linux", "architecture": "amd64"}
	arm := d("sha256:" + "0000000000000000000000000000000000000000000000000000000000000000")
	arm["platform"] = map[string]string{"os": "linux", "architecture": "arm64"}
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{amd, arm}})
	f.tags["a/b:1"] = f.push(index).String()
	m, s := newMirror(t, f, nil)
	client := reach(s)
	got, err := Prefetch(t.Context(), client, fakeName+"/a/b:1", "linux/amd64")
	if err != nil || got.Manifests != 2 || got.Blobs != 2 {
		t.Errorf("%+v %v", got, err)
	}
	eventually(t, "the blobs are here", func() bool { return m.Store().has(layer) && m.Store().has(config) })
	for _, image := range []string{fakeName + "/a/b:2", fakeName + "/a/b@" + string(layer), "A B", fakeName + "/a/b:1"} {
		if _, err := Prefetch(t.Context(), client, image, "plan9/mips"); err == nil {
			t.Errorf("%s: no error", image)
		}
	}
}

func TestParseImage(t *testing.T) {
	for image, want := range map[string][3]string{
		"busybox":                    {"docker.io", "library/busybox", "latest"},
		"localhost:5000/x":           {"localhost:5000", "x", "latest"},
		"ghcr.io/a/b:1.2":            {"ghcr.io", "a/b", "1.2"},
		"registry.test:5000/a/b:1.2": {"registry.test:5000", "a/b", "1.2"},
	} {
		registry, repo, ref, err := ParseImage(image)
		if err != nil || [3]string{registry, repo, ref} != want {
			t.Errorf("%s: %s %s %s %v", image, registry, repo, ref, err)
		}
	}
}
