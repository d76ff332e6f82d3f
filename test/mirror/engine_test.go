package mirror

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// TestScenario is the third scenario: one cache for every engine and every builder, a
// private authority given once, and work that goes on when the registry is down.
func TestScenario(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	base := f.push(t, "team/base:1", image.Options{Label: t.Name() + " base"})
	serve(t, "--registry-ca", f.Address+"="+f.CAFile, "--tag-ttl", "0")

	// Neither the name nor the authority of the registry is known to the engines.
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			r := berth(t, script("docker pull -q "+ref+"; docker run --rm "+ref)...)
			if r.code != 0 || !strings.Contains(r.stdout, image.Greeting) {
				t.Errorf("status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	wg.Wait()
	for blob, n := range f.fetched("blobs") {
		if n != 1 {
			t.Errorf("%s was fetched %d times", blob, n)
		}
	}
	build := "d=$(mktemp -d); printf 'FROM " + base + "\\nRUN echo built > /built\\n' > $d/Dockerfile; docker build -q -t x $d; rm -r $d; docker run --rm x cat /built"
	if out := must(t, script(build)...); !strings.Contains(out, "built") {
		t.Errorf("build: %s", out)
	}
	if len(f.fetched("blobs")) < 6 {
		t.Errorf("the build did not pull through the mirror: %v", f.fetched("blobs"))
	}
	f.setFault(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(503); return true })
	must(t, script("docker pull -q "+ref)...)
	must(t, script(build)...)
	if out := must(t, "mirror", "ls"); !strings.Contains(out, f.Address+"/team/app:1") {
		t.Errorf("ls: %s", out)
	}
	if out := must(t, "mirror", "status"); !strings.Contains(out, "stored") {
		t.Errorf("status: %s", out)
	}
}

// TestNoNetwork: an engine without a network can still pull, if that is asked for.
func TestNoNetwork(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	if r := berth(t, script("true", "--mirror", "local")...); r.code != 125 || !strings.Contains(r.stderr, "berth mirror serve") {
		t.Errorf("without a mirror: status %d, %s", r.code, r.stderr)
	}
	serve(t, "--registry-ca", f.Address+"="+f.CAFile)
	must(t, script("docker pull -q "+ref, "--net", "none", "--mirror", "local")...)
	if r := berth(t, script("docker pull -q "+ref, "--net", "none")...); r.code == 0 {
		t.Error("an engine without a network got a way out that nobody asked for")
	}
}

// TestPrefetch: what was fetched beforehand can be pulled when the registry is gone.
func TestPrefetch(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	serve(t, "--registry-ca", f.Address+"="+f.CAFile)
	must(t, "mirror", "prefetch", ref)
	f.server.Close()
	must(t, script("docker pull -q "+ref)...)
}

// TestMirrorFails: an engine that can goes to the registry itself.
func TestMirrorFails(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	d := serve(t) // knows no authority, nor that the registry may be on a private address
	direct := []string{"--registry-ca", f.Address + "=" + f.CAFile, "--add-host", registryHost + ":host-gateway"}
	must(t, script("docker pull -q "+ref, direct...)...)
	must(t, append([]string{"up"}, append(direct, "kept")...)...)
	defer berth(t, "rm", "-f", "kept")
	must(t, append([]string{"up", "--mirror-only"}, append(direct, "strict")...)...)
	defer berth(t, "rm", "-f", "strict")
	for _, killed := range []bool{false, true} {
		if killed {
			d.stop(syscall.SIGKILL)
		}
		for _, unknown := range []string{ref, "elsewhere.test/team/app:1"} {
			if r := berth(t, "docker", "--engine", "strict", "pull", "-q", unknown); r.code == 0 || strings.Contains(r.stderr, "https://elsewhere.test") {
				t.Errorf("--mirror-only, mirror killed %v: went to the registry itself: %d %s", killed, r.code, r.stderr)
			}
		}
	}
	must(t, "docker", "--engine", "kept", "pull", "-q", ref)
	must(t, script("docker pull -q "+ref, direct...)...)
	if r := berth(t, script("true", "--mirror-only")...); r.code != 125 || !strings.Contains(r.stderr, "berth mirror serve") {
		t.Errorf("--mirror-only without a mirror: %d %s", r.code, r.stderr)
	}
	// With the mirror, pulls work, and pushes go to the registry.
	d.end(t)
	serve(t, "--registry-ca", f.Address+"="+f.CAFile)
	must(t, script("docker pull -q "+ref+"; docker tag "+ref+" "+f.Address+"/team/pushed:1; docker push -q "+f.Address+"/team/pushed:1", append(direct, "--mirror-only")...)...)
	must(t, script("docker pull -q "+ref, "--mirror-only")...)
}

func TestMirrorByURL(t *testing.T) {
	guard(t)
	f := newFront(t, "", "")
	ref := f.push(t, "team/app:1", image.Options{Label: t.Name()})
	d := serve(t, "--socket", "none", "--listen", "0.0.0.0:0", "--name", "mirror.corp.test", "--registry-ca", f.Address+"="+f.CAFile)
	_, port, _ := strings.Cut(strings.TrimSpace(d.ready[strings.LastIndex(d.ready, "https://[")+9:]), "]:")
	if port == "" {
		port = d.ready[strings.LastIndex(d.ready, ":")+1:]
	}
	port = strings.TrimSpace(port)
	ca := filepath.Join(t.TempDir(), "mirror-ca.pem")
	if err := os.WriteFile(ca, []byte(must(t, "mirror", "ca")), 0o644); err != nil {
		t.Fatal(err)
	}
	name := "mirror.corp.test:" + port
	must(t, script("docker pull -q "+ref, "--mirror", "https://"+name, "--registry-ca", name+"="+ca, "--add-host", "mirror.corp.test:host-gateway")...)
	must(t, script("docker pull -q "+ref, "--mirror", "https://"+name, "--ca", ca, "--add-host", "mirror.corp.test:host-gateway")...)
	// A client that knows nothing of mirrors.
	must(t, script("docker pull -q "+name+"/"+strings.ReplaceAll(f.Address, ":", "_")+"/team/app:1", "--ca", ca, "--add-host", "mirror.corp.test:host-gateway")...)
	if r := berth(t, script("docker pull -q "+ref)...); r.code == 0 {
		t.Error("pulled without a mirror that was asked for")
	}
}

// eachAuth runs a test with a registry that knows alice: by basic authentication and by tokens.
func eachAuth(t *testing.T, test func(t *testing.T, f *front)) {
	for name, tokens := range map[string]bool{"basic": false, "token": true} {
		t.Run(name, func(t *testing.T) {
			guard(t)
			f := newFrontOf(t, registry.Options{User: "alice", Password: "right", Tokens: tokens})
			img, err := image.Build(image.Options{Label: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			pushAs(t, f, "secret/app:1", img, "alice", "right")
			test(t, f)
		})
	}
}

func TestPrivateImages(t *testing.T) {
	eachAuth(t, func(t *testing.T, f *front) {
		ref := f.Address + "/secret/app:1"
		serve(t, "--registry-ca", f.Address+"="+f.CAFile)
		direct := []string{"--registry-ca", f.Address + "=" + f.CAFile, "--add-host", registryHost + ":host-gateway"}
		login := "export DOCKER_CONFIG=$(mktemp -d); echo right | docker login -u alice --password-stdin " + f.Address + "; docker pull -q " + ref + "; rm -r $DOCKER_CONFIG"
		must(t, script(login, direct...)...)
		if r := berth(t, script("docker pull -q "+ref, direct...)...); r.code == 0 {
			t.Error("a private image was given to a client without credentials")
		}
	})
}

// TestOwnCredentials: what the operator gives to the mirror is for all of its clients.
func TestOwnCredentials(t *testing.T) {
	eachAuth(t, func(t *testing.T, f *front) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "password"), "right\n")
		conf := filepath.Join(dir, "berth.toml")
		write(t, conf, "[mirror.upstream.\""+f.Address+"\"]\nuser = \"alice\"\npassword_file = \"password\"\nca = \""+f.CAFile+"\"\n")
		if out := must(t, "config", "check", conf); !strings.Contains(out, "is right") {
			t.Errorf("config check: %s", out)
		}
		serve(t, "--config", conf)
		must(t, script("docker pull -q "+f.Address+"/secret/app:1")...)
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
