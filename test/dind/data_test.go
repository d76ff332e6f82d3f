package dind

import (
	"os"
	"strings"
	"testing"
)

func TestDataOnAVolumeOutlivesTheContainer(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		t.Cleanup(func() { h.try(t, "volume", "rm", "dind-data") })
		e := h.privileged(t, "data", []string{"-v", "dind-data:/var/lib/docker"})
		e.docker("tag", busyName, "kept:1")
		e.docker("run", "--name", "owner", busyName, "sh", "-c", "touch /mine; chown 1000 /mine")
		e.h.must(t, "stop", e.name)
		e.remove()
		e = h.container(t, "data", []string{"--privileged", "-v", "dind-data:/var/lib/docker"}).wait()
		want(t, "images", e.docker("images"), "kept")
		e.docker("commit", "owner", "committed:1")
		if got := e.must("docker", "run", "--rm", "committed:1", "stat", "-c", "%u", "/mine"); got != "1000" {
			t.Errorf("owner of a file in a layer: %s", got)
		}
		// As docker:dind has it, so that one can go back.
		if got := h.must(t, "run", "--rm", "-v", "dind-data:/d", imageName, "stat", "-c", "%u", "/d/containerd"); got != "0" {
			t.Errorf("on disk the data root belongs to %s", got)
		}
	})
}

func TestDataOnABindMount(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		dir, err := os.MkdirTemp(shared, "data-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		for range 2 {
			e := h.privileged(t, "bound", []string{"-v", dir + ":/var/lib/docker"})
			if r := e.in(nil, "stat -c %u /home/user/note"); r.stdout != "1000" {
				t.Errorf("owner of a file in a layer: %s", r)
			}
			h.must(t, "stop", e.name)
			e.remove()
		}
	})
}

func TestDataOnTheContainersOverlayIsRefused(t *testing.T) {
	r := current(t).try(t, "run", "--rm", "--privileged", imageName, "--data-root=/somewhere")
	if r.code == 0 {
		t.Fatal(r)
	}
	want(t, "error", r.stderr, "add to docker run: -v /somewhere")
}

func TestImagesAreLoadedAtStart(t *testing.T) {
	e := current(t).privileged(t, "images", nil)
	want(t, "images once ready", e.docker("images"), "berth.test/busy")
	want(t, "log", e.logs(), "loaded /images/busy.tar")
}

func TestVolumesOfTheContainerAreTheEnginesToo(t *testing.T) {
	// A CI system mounts its work directory into the service and the job at one path.
	each(t, func(t *testing.T, h *host) {
		path := file(t, "source", "from outside\n")
		dir := path[:strings.LastIndex(path, "/")]
		e := h.privileged(t, "builds", []string{"-v", dir + ":/builds"})
		if r := e.in([]string{"-v", "/builds:/src"}, "cat /src/source; echo from inside > /src/made; chown 1000 /src/made"); r.stdout != "from outside" {
			t.Error(r)
		}
		if got := e.must("sh", "-c", "cat /builds/made; stat -c %u /builds/made"); got != "from inside\n1000" {
			t.Errorf("what a container wrote is %q", got)
		}
		// What is not mounted is refused, not silently empty.
		if r := e.in([]string{"-v", "/no-such-place:/src"}, "true"); r.code == 0 {
			t.Error("a bind mount of nothing worked")
		}
	})
}

func TestMountsWithinMountsAndInit(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		path := file(t, "source", "from outside\n")
		dir := path[:strings.LastIndex(path, "/")]
		// --init mounts a program below /usr.
		e := h.privileged(t, "within", []string{"--init", "-v", dir + ":/builds", "-v", busyTar + ":/builds/busy:ro"})
		if r := e.in([]string{"-v", "/builds:/src"}, "cat /src/source; test -s /src/busy && echo both"); r.stdout != "from outside\nboth" {
			t.Error(r)
		}
	})
}
