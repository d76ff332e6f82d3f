package mirror

import (
	"path"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for _, test := range []struct{ path, ns, registry, repo, ref string }{
		{"/v2/a/b/manifests/1", "ghcr.io", "ghcr.io", "a/b", "1"},
		{"/v2/ghcr.io/a/b/manifests/1", "", "ghcr.io", "a/b", "1"},
		{"/v2/localhost:5000/b/manifests/1", "", "localhost:5000", "b", "1"},
		{"/v2/registry.example_5000/b/manifests/1", "", "registry.example:5000", "b", "1"},
		{"/v2/[::1]:5000/b/manifests/1", "", "[::1]:5000", "b", "1"},
		{"/v2/busybox/manifests/1", "", "docker.io", "library/busybox", "1"},
		{"/v2/a/blobs/manifests/1", "", "docker.io", "a/blobs", "1"},
		{"/v2/a/b/blobs/" + sum, "INDEX.docker.io", "docker.io", "a/b", sum},
		{"/v2/x.y/a/blobs/" + sum, "ghcr.io", "ghcr.io", "x.y/a", sum},
	} {
		got, err := parseTarget(test.path, test.ns)
		if err != nil || got.registry != test.registry || got.repo != test.repo || got.ref() != test.ref {
			t.Errorf("%s %s: %+v %v", test.path, test.ns, got, err)
		}
	}
	for _, p := range []string{
		"", "/", "/v1/", "/v2x", "/v2/a/b", "/v2/a/../b/manifests/1", "/v2//a/manifests/1", "/v2/A/manifests/1", "/v2/a/manifests/",
		"/v2/a/manifests/..", "/v2/a/blobs/latest", "/v2/a/blobs/sha256:abc", "/v2/a/manifests/md5:" + strings.Repeat("a", 32),
		"/v2/_a/manifests/1", "/v2/a/_tags/manifests/1", "/v2/" + strings.Repeat("a", 300) + "/manifests/1", "/v2/a/manifests/" + strings.Repeat("a", 129),
	} {
		if got, err := parseTarget(p, "ghcr.io"); err == nil {
			t.Errorf("%q: %+v", p, got)
		}
	}
	for _, ns := range []string{"a/b", "..", ".", "a:b", "a:0", "a:99999", "[::1", "::1", "[1.2.3.4]", "a b", "a@b", "http://a", "a:+5", "-a", strings.Repeat("a", 300), "a\x00", "_x"} {
		if got, err := parseTarget("/v2/a/manifests/1", ns); err == nil {
			t.Errorf("ns %q: %+v", ns, got)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("/v2/a/b/manifests/1", "ghcr.io")
	f.Add("/v2/localhost:5000/b/blobs/sha256:"+strings.Repeat("a", 64), "")
	f.Add("/v2/a/../b/manifests/1", "..")
	f.Fuzz(func(t *testing.T, urlPath, ns string) {
		got, err := parseTarget(urlPath, ns)
		if err != nil || got.kind == kindBase {
			return
		}
		if got.tag == "" && got.kind != kindReferrers {
			got.tag = "x"
		}
		for _, p := range []string{tagPath(got), linkPath(got.registry, got.repo, "sha256:x"), openPath(got.registry, got.repo)} {
			if path.Clean(p) != p || !strings.HasPrefix(p, "repos/") || strings.Contains(p, "..") && !strings.Contains(got.tag, "..") || strings.ContainsRune(p, 0) {
				t.Errorf("%q %q: leads to %q", urlPath, ns, p)
			}
		}
		if strings.ContainsAny(got.path(), "?#% \r\n") {
			t.Errorf("%q %q: asks for %q", urlPath, ns, got.path())
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2}`), "sha256:x", "1")
	f.Fuzz(func(t *testing.T, content []byte, said, tag string) {
		g := manifest{content: content}
		if err := g.verify(target{registry: "r", repo: "a", kind: kindManifest, tag: tag}, said); err == nil && g.digest.Algorithm().FromBytes(content) != g.digest {
			t.Errorf("accepted with the digest %s", g.digest)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add(`Bearer realm="https://a/b",service="x, y",scope=z`)
	f.Fuzz(func(t *testing.T, s string) {
		if start, total, ok := contentRange(s); ok && (start < 0 || total < -1 || total >= 0 && total <= start) {
			t.Errorf("%q: %d of %d", s, start, total)
		}
		parseChallenge([]string{s})
		if d := retryAfter(s); d <= 0 || d > maxRetryAfter {
			t.Errorf("%q: %s", s, d)
		}
	})
}

func TestParseChallenge(t *testing.T) {
	c, ok := parseChallenge([]string{"Negotiate", `Bearer realm="https://a/b?c=d",service="x, \"y\"", scope=z`})
	if !ok || c.scheme != "bearer" || c.params["realm"] != "https://a/b?c=d" || c.params["service"] != `x, "y"` || c.params["scope"] != "z" {
		t.Errorf("%+v", c)
	}
}
