package mirror

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestPrivate: what needs credentials is served only to who has shown them, from the cache too.
func TestPrivate(t *testing.T) {
	for _, tokens := range []bool{false, true} {
		f := newFake(t)
		f.users, f.tokens = map[string]string{"alice": "right"}, tokens
		blob := f.push(random(1 << 20))
		d := f.tag("secret/app:1", blob)
		m, s := newMirror(t, f, nil)
		paths := []string{"/v2/secret/app/manifests/1" + ns, "/v2/secret/app/manifests/" + d.String() + ns, "/v2/secret/app/blobs/" + blob.String() + ns}
		refused := func(when string, header ...string) {
			t.Helper()
			for _, p := range paths {
				for _, method := range []string{"GET", "HEAD"} {
					if got := ask(t, s, method, p, header...); got.status != 401 || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic") {
						t.Errorf("tokens %v, %s: %s %s: %d %s", tokens, when, method, p, got.status, got.body)
					}
				}
			}
		}
		refused("nobody, empty cache")
		for _, p := range paths {
			if got := get(t, s, p, "Authorization", basic("alice", "right")); got.status != 200 {
				t.Errorf("tokens %v: alice: %s: %d %s", tokens, p, got.status, got.body)
			}
		}
		eventually(t, "the blob is complete", func() bool { return m.Store().has(blob) })
		refused("nobody, full cache")
		refused("wrong password", "Authorization", basic("alice", "wrong"))
		refused("bad token", "Authorization", "Bearer x")
		asked := f.count("HEAD manifests") + f.count("HEAD blobs") + f.count("GET manifests")
		for _, p := range paths[1:] {
			get(t, s, p, "Authorization", basic("alice", "right"))
		}
		if n := f.count("HEAD manifests") + f.count("HEAD blobs") + f.count("GET manifests"); n != asked {
			t.Errorf("tokens %v: the right was asked for again at once", tokens)
		}
		f.Close()
		refused2 := get(t, s, paths[2])
		if refused2.status < 400 {
			t.Errorf("the registry is down: %d", refused2.status)
		}
	}
}

func TestAnonymousTokens(t *testing.T) {
	f := newFake(t)
	f.users, f.tokens = map[string]string{"alice": "right"}, true
	f.tag("public/app:1", f.push(random(10)))
	_, s := newMirror(t, f, nil)
	if got := get(t, s, "/v2/public/app/manifests/1"+ns); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestOwnCredentials(t *testing.T) {
	f := newFake(t)
	f.users = map[string]string{"mirror": "own"}
	f.tag("a/b:1", f.push(random(10)))
	_, s := newMirror(t, f, func(c *Config) {
		c.Credentials = func(registry string) (string, string, error) {
			if registry != fakeName {
				t.Errorf("credentials asked for %s", registry)
			}
			return "mirror", "own", nil
		}
	})
	if got := get(t, s, "/v2/a/b/manifests/1"+ns); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestBlobOfAnotherRepository: that the mirror has a blob does not mean that a repository has it.
func TestBlobOfAnotherRepository(t *testing.T) {
	f := newFake(t)
	blob := f.push(random(100))
	f.tag("a/b:1", blob)
	m, s := newMirror(t, f, nil)
	get(t, s, "/v2/a/b/manifests/1"+ns)
	get(t, s, "/v2/a/b/blobs/"+blob.String()+ns)
	eventually(t, "the blob is complete", func() bool { return m.Store().has(blob) })
	f.tag("c/d:1")
	get(t, s, "/v2/c/d/manifests/1"+ns)
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/c/d/blobs") {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	if got := get(t, s, "/v2/c/d/blobs/"+blob.String()+ns); got.status != 404 {
		t.Errorf("%d", got.status)
	}
}

// TestPrivateAddresses: nobody can use the mirror to reach what only this machine does.
func TestPrivateAddresses(t *testing.T) {
	inner := newFake(t)
	inner.tag("a/b:1", inner.push(random(10)))
	_, s := newMirror(t, nil, nil)
	address := strings.TrimPrefix(inner.URL, "http://")
	for _, name := range []string{address, "localhost:" + strings.Split(address, ":")[1], "169.254.169.254", "10.0.0.1", "[::1]:5000", "[fe80::1]", "[::ffff:7f00:1]:80", "198.18.0.1", "0.0.0.0:80"} {
		got := get(t, s, "/v2/a/b/manifests/1?ns="+name)
		if got.status != 403 && got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if len(inner.requests) != 0 {
		t.Error("an address that is not public was reached")
	}
}

func TestRedirects(t *testing.T) {
	inner := newFake(t) // somewhere the registry has no business to send us
	content := random(1000)
	blob := inner.push(content)
	f := newFake(t)
	f.push(content)
	f.tag("a/b:1", blob)
	f.users = map[string]string{"alice": "right"}
	leaked := ""
	inner.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		leaked += r.Header.Get("Authorization")
		return false
	})
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, inner.URL+"/v2/x/blobs/"+blob.String(), http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	_, s := newMirror(t, f, nil)
	auth := []string{"Authorization", basic("alice", "right")}
	get(t, s, "/v2/a/b/manifests/1"+ns, auth...)
	if got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns, auth...); got.status != 403 || inner.count("GET blobs") != 0 {
		t.Errorf("a redirect to a private address: %d %s", got.status, got.body)
	}
	_, s = newMirror(t, f, func(c *Config) {
		c.Upstreams[fakeName] = Upstream{URL: f.URL, Hosts: []string{strings.TrimPrefix(inner.URL, "http://")}}
	})
	get(t, s, "/v2/a/b/manifests/1"+ns, auth...)
	if got := get(t, s, "/v2/a/b/blobs/"+blob.String()+ns, auth...); got.status != 200 || digest.FromBytes(got.body) != blob {
		t.Errorf("a redirect to a configured host: %d %s", got.status, got.body)
	}
	if leaked != "" {
		t.Error("credentials went to another host")
	}
}

func TestPolicy(t *testing.T) {
	_, s := newMirror(t, nil, func(c *Config) { c.Allow, c.Deny = []string{"*.example"}, []string{"bad.example"} })
	for name, denied := range map[string]bool{
		"docker.io": true, "bad.example": true, "other.test": true, "registry-1.docker.io:443": true,
		"bad.example:443": true, "BAD.Example": true, "good.example": false, "good.example:443": false,
	} {
		if got := get(t, s, "/v2/a/b/manifests/1?ns="+name); (got.status == 403) != denied {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// TestOneNameOfARegistry: a registry that is denied, or configured, is so by every name.
func TestOneNameOfARegistry(t *testing.T) {
	f := newFake(t)
	f.tag("a/b:1", f.push(random(10)))
	_, s := newMirror(t, nil, func(c *Config) {
		c.Upstreams["Corp.Test:443"] = Upstream{URL: f.URL}
		c.Deny = []string{"registry-1.docker.io", "Bad.test:443", "[2606:4700::1111]", "*.Evil.test:443"}
	})
	for _, name := range []string{"corp.test", "corp.test:443", "CORP.test"} {
		if got := get(t, s, "/v2/a/b/manifests/1?ns="+name); got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for _, name := range []string{"docker.io:443", "registry-1.docker.io:443", "index.docker.io:443", "bad.test:443", "Bad.Test", "a.evil.test", "[2606:4700:0::1111]", "[2606:4700::1111]:443"} {
		if got := get(t, s, "/v2/a/b/manifests/1?ns="+name); got.status != 403 || !strings.Contains(string(got.body), "does not allow") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if _, err := New(Config{Dir: t.TempDir(), Upstreams: map[string]Upstream{"a.test": {}, "A.test:443": {}}}); err == nil {
		t.Error("two names of one registry")
	}
}

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "198.18.3.4": false, "0.0.0.0": false,
		"224.0.0.1": false, "255.255.255.255": false, "fe80::1": false, "fd00::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "fd00:ec2::254": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: public %v", text, got)
		}
	}
}

// TestHostileRealm: a registry cannot send the mirror to a token server inside.
func TestHostileRealm(t *testing.T) {
	inner := newFake(t)
	f := newFake(t)
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+inner.URL+`/token",service="x"`)
		w.WriteHeader(401)
		return true
	})
	_, s := newMirror(t, f, nil)
	if got := get(t, s, "/v2/a/b/manifests/1"+ns, "Authorization", basic("alice", "right")); got.status != 403 || len(inner.requests) != 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
