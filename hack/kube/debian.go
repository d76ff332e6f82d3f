package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/hack/task"
)

// debs are the Debian packages that programs are taken from, by path.
var debs = map[string][]string{
	"etcd-server":                 {"usr/bin/etcd"},
	"containernetworking-plugins": {"usr/lib/cni/bridge", "usr/lib/cni/host-local", "usr/lib/cni/portmap"},
	"busybox-static":              {"bin/busybox"},
}

var debNames = []string{"busybox-static", "containernetworking-plugins", "etcd-server"}

var debian = &part{
	name: "debian", programs: []string{"etcd", "bridge", "host-local", "portmap", "busybox"},
	inputs: debInputs, build: debBuild,
}

// debInputs are the exact packages that apt would download now, or, when it knows none
// (no lists, no network), those of the last time.
func debInputs(ctx context.Context, w io.Writer) error {
	list := filepath.Join(cacheDir, "packages")
	args := append([]string{"-o", "APT::Sandbox::User=root", "download", "--print-uris"}, debNames...)
	uris, err := task.Output(ctx, ".", nil, "apt-get", args...)
	if err != nil {
		old, readErr := os.ReadFile(list)
		if readErr != nil {
			return fmt.Errorf("%w: bring apt's lists up to date with `make deps`", err)
		}
		uris = old
	}
	fmt.Fprintf(w, "%s %v", uris, debs)
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(list, uris, 0o644)
}

// debBuild downloads the packages (apt checks them against Debian's signatures) and copies
// the programs out of them.
func debBuild(ctx context.Context, bin string) error {
	dir, err := os.MkdirTemp(cacheDir, "debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args := append([]string{"-o", "APT::Sandbox::User=root", "-q", "download"}, debNames...)
	if _, err := task.Output(ctx, dir, nil, "apt-get", args...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := task.Output(ctx, dir, nil, "dpkg-deb", "-x", filepath.Base(file), "."); err != nil {
			return err
		}
	}
	for _, name := range debNames {
		for _, path := range debs[name] {
			if err := replace(filepath.Join(bin, filepath.Base(path)), filepath.Join(dir, path)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// replace puts a copy of the program from in the place of to, which may be in use.
func replace(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", data, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
