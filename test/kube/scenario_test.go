package kube

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// The manifest that is pasted everywhere works, and the node's containerd sees nothing of it.
func TestTheDeploymentPeopleWrite(t *testing.T) {
	before := nodeImages(t)
	ns := node.Namespace(t)
	ns.Apply(render(t, "scenario.yaml", nil))
	ns.Wait("deployment/docker-in-docker", "condition=Available")
	client := func(script string) string {
		return ns.Exec("deployment/docker-in-docker", "docker-client", "sh", "-c", script)
	}
	client("until test -e /images/done; do sleep 0.1; done")
	if left := client("docker images -q"); left != "" {
		t.Errorf("after docker rmi there are images %s", left)
	}
	archive := ns.Exec("deployment/docker-in-docker", "docker-client", "cat", "/images/busybox.tar")
	if got := savedDigest(t, archive+"\n"); got != busyDigest {
		t.Errorf("saved image %s, want %s", got, busyDigest)
	}
	if after := nodeImages(t); !slices.Equal(before, after) {
		t.Errorf("the node's images were %v, and are %v", before, after)
	}
}

// nodeImages lists the images and blobs of the node's containerd.
func nodeImages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, what := range []string{"images", "content"} {
		out, err := node.Ctr(t.Context(), what, "ls", "-q")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(out)...)
	}
	slices.Sort(all)
	return all
}

// savedDigest returns the digest of the only image in what docker save wrote, when all of the
// archive's blobs are what their names say.
func savedDigest(t *testing.T, archive string) string {
	t.Helper()
	var index struct {
		Manifests []struct{ Digest string }
	}
	for in := tar.NewReader(strings.NewReader(archive)); ; {
		header, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok && header.Typeflag == tar.TypeReg && fmt.Sprintf("%x", sha256.Sum256(data)) != want {
			t.Errorf("%s has other content", header.Name)
		}
		if header.Name == "index.json" {
			if err := json.NewDecoder(bytes.NewReader(data)).Decode(&index); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(index.Manifests) != 1 {
		t.Fatalf("the archive has images %v, want one", index.Manifests)
	}
	return index.Manifests[0].Digest
}
