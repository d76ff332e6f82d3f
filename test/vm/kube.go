package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

const programs = ".cache/kube/bin"

// clusterPrograms are what `go run ./hack/kube` has built.
func clusterPrograms(s settings) []string {
	found, _ := filepath.Glob(filepath.Join(s.Repo, programs, "*"))
	return found
}

// addCluster gives the work disk what the tests of test/kube need: the cluster's programs, the
// manifests, and berth's image, which cannot be made on a disk that is read-only.
func addCluster(ctx context.Context, s settings, tree string) error {
	const image, manifests = ".cache/kube/image", "test/kube/testdata"
	if err := os.CopyFS(filepath.Join(tree, manifests), os.DirFS(filepath.Join(s.Repo, manifests))); err != nil {
		return err
	}
	for _, dir := range []string{programs, image} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, file := range clusterPrograms(s) {
		if err := link(file, filepath.Join(tree, programs, filepath.Base(file))); err != nil {
			return err
		}
	}
	// Where test/kube looks for it: by the hash of the program.
	berth := filepath.Join(tree, "bin/berth")
	program, err := os.ReadFile(berth)
	if err != nil {
		return err
	}
	archive := filepath.Join(tree, image, fmt.Sprintf("%x.tar", sha256.Sum256(program)))
	return buildImage(ctx, s, berth, archive, "--name", "localhost/berth:1")
}
