package dind

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// debian is an environment in which the programs unpacked in a directory run.
func debian(t *testing.T, dir, program string) (path string, env []string) {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "usr/bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s of Debian: it could not be downloaded", program)
	}
	return path, append(os.Environ(), "PATH="+dir+"/usr/bin:"+dir+"/usr/sbin:"+os.Getenv("PATH"),
		"LD_LIBRARY_PATH="+dir+"/usr/lib/x86_64-linux-gnu:"+dir+"/lib/x86_64-linux-gnu", "HOME="+t.TempDir())
}

func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Docker 20.10 and 29 take the archive for every other test.
func TestLoadPodman(t *testing.T) {
	podman, env := debian(t, debianPodman, "podman")
	dir, policy := t.TempDir(), file(t, "policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
	runc, err := filepath.Abs(debianDocker + "/usr/sbin/runc")
	if err != nil {
		t.Fatal(err)
	}
	options := []string{podman, "--runtime", runc, "--conmon", filepath.Join(filepath.Dir(podman), "conmon"), "--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}
	must := func(args ...string) string {
		t.Helper()
		r, err := run(env, append(options[:len(options):len(options)], args...)...)
		if err != nil || r.code != 0 {
			t.Fatalf("podman %v: %v, %s", args, err, r)
		}
		return r.stdout
	}
	t.Cleanup(func() { must("rmi", "-af") })
	want(t, "podman load", must("load", "--signature-policy", policy, "-q", "-i", imageTar), "berth:latest")
	got := must("image", "inspect", "-f", "{{.Config.Entrypoint}} {{.Config.StopSignal}} {{.Config.Volumes}}", imageName)
	want(t, "podman image inspect", got, "[berth init] SIGTERM map[/var/lib/docker:{}]")
	want(t, "podman run", must("run", "--rm", "--network", "none", imageName, "docker", "--version"), "Docker version")
}

func TestLoadSkopeo(t *testing.T) {
	skopeo, env := debian(t, debianPodman, "skopeo")
	out := t.TempDir()
	for _, kind := range []string{"oci-archive:", "docker-archive:"} {
		r, err := run(env, skopeo, "--insecure-policy", "copy", "-q", kind+imageTar, "dir:"+filepath.Join(out, kind))
		if err != nil || r.code != 0 {
			t.Fatalf("%s: %v, %s", kind, err, r)
		}
		r, err = run(env, skopeo, "inspect", "--config", "dir:"+filepath.Join(out, kind))
		if err != nil {
			t.Fatal(err)
		}
		want(t, kind, strings.Join(strings.Fields(r.stdout), ""), `"Entrypoint":["berth","init"]`)
	}
}

func TestLoadContainerd(t *testing.T) {
	ctr, env := debian(t, debianDocker, "ctr")
	dir := t.TempDir()
	socket := dir + "/containerd.sock"
	cmd := exec.Command(filepath.Join(filepath.Dir(ctr), "containerd"), "--root", dir+"/root", "--state", dir+"/state", "--address", socket, "--log-level", "error")
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
	})
	eventually(func() bool {
		r, err := run(env, ctr, "--address", socket, "version")
		return err == nil && r.code == 0
	})
	for _, args := range [][]string{{"images", "import", "--snapshotter", "native", imageTar}, {"images", "ls", "-q"}, {"images", "check"}} {
		r, err := run(env, append([]string{ctr, "--address", socket}, args...)...)
		if err != nil || r.code != 0 {
			t.Fatalf("ctr %v: %v, %s", args, err, r)
		}
		want(t, strings.Join(args, " "), r.stdout, "docker.io/library/berth:latest")
	}
}

// The same berth makes the same bytes.
func TestImageIsReproducible(t *testing.T) {
	if os.Getenv("BERTH_TEST_IMAGE") != "" {
		t.Skip("the image was made elsewhere")
	}
	f, err := os.Open(imageTar)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(berthProgram, "image", "build", "-o", "-")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	again := sumOf(t, pipe)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if first := sumOf(t, f); first != again {
		t.Errorf("sha256 %s, then %s", first, again)
	}
}

// What a derived image or an orchestrator reads of it.
func TestImageSaysWhatItIs(t *testing.T) {
	var c struct {
		Labels       map[string]string
		Volumes      map[string]any
		ExposedPorts map[string]any
		StopSignal   string
		Healthcheck  struct {
			Test                    []string
			Interval, StartInterval int64
		}
	}
	if err := json.Unmarshal([]byte(current(t).must(t, "image", "inspect", "-f", "{{json .Config}}", imageName)), &c); err != nil {
		t.Fatal(err)
	}
	if c.Labels["org.opencontainers.image.title"] != "berth" || c.Labels["dev.berth.payload"] == "" {
		t.Errorf("labels %v", c.Labels)
	}
	if len(c.Volumes) != 1 || c.Volumes["/var/lib/docker"] == nil || c.ExposedPorts["2376/tcp"] == nil || c.StopSignal != "SIGTERM" {
		t.Errorf("%+v", c)
	}
	if h := c.Healthcheck; strings.Join(h.Test, " ") != "CMD berth health" || h.StartInterval == 0 || h.Interval < h.StartInterval {
		t.Errorf("health check %+v", h)
	}
}
