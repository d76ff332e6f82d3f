package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/berth-dev/berth/internal/payload"
)

// clients are the programs of the payload that people call; the rest is the engine's. They
// are a layer of their own because they change with other releases.
const clients = "usr/libexec/docker"

type layerSet struct {
	layers []v1.Layer
	names  []string // what each is, for the history
	dir    string   // temporary files
}

func (s *layerSet) remove() { os.RemoveAll(s.dir) }

// buildLayers compresses the layers side by side; they are needed twice (digest, then
// content), so they are kept in temporary files.
func buildLayers(ctx context.Context, o Options, program []byte) (_ *layerSet, err error) {
	s := &layerSet{}
	if s.dir, err = os.MkdirTemp("", "berth-image-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	total, err := size(o.Tree.Rootfs())
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	var mu sync.Mutex
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if d := done.Add(int64(n)); o.Progress != nil {
			o.Progress(min(d, total), total)
		}
	}
	makers := []struct {
		name string
		fill func(context.Context, *layerWriter) error
	}{
		{"engine", func(ctx context.Context, w *layerWriter) error {
			return w.tree(ctx, o.Tree.Rootfs(), func(rel string) bool { return !within(rel, clients) })
		}},
		{"clients", func(ctx context.Context, w *layerWriter) error {
			return w.tree(ctx, o.Tree.Rootfs(), func(rel string) bool { return within(rel, clients) })
		}},
		{"berth", func(_ context.Context, w *layerWriter) error { return w.own(o, program) }},
	}
	s.layers, s.names = make([]v1.Layer, len(makers)), make([]string, len(makers))
	group, ctx := errgroup.WithContext(ctx)
	for i, m := range makers {
		group.Go(func() (err error) {
			s.names[i] = m.name
			s.layers[i], err = compress(filepath.Join(s.dir, m.name), func(out io.Writer) error {
				w := &layerWriter{tar: tar.NewWriter(out), created: o.Created, count: count}
				if err := m.fill(ctx, w); err != nil {
					return err
				}
				return w.tar.Close()
			})
			return err
		})
	}
	return s, group.Wait()
}

func within(rel, dir string) bool { return rel == dir || strings.HasPrefix(rel, dir+"/") }

func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func compress(file string, fill func(io.Writer) error) (v1.Layer, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := fill(z); err != nil {
		return nil, err
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		return nil, err
	}
	return tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
}

// own writes what the image has besides the payload's tree.
func (w *layerWriter) own(o Options, program []byte) error {
	installed := strings.TrimPrefix(payload.InstalledDir, "/")
	entries := []*tar.Header{
		dir("dev", 0o755), dir("proc", 0o755), dir("sys", 0o755), dir("run", 0o755), dir("tmp", 0o1777), dir("root", 0o700),
		dir("home", 0o755), dir("mnt", 0o755), dir("srv", 0o755), dir("opt", 0o755), dir("images", 0o755),
		dir("var", 0o755), dir("var/lib", 0o755), dir("var/lib/docker", 0o711), dir("var/tmp", 0o1777),
		dir("etc", 0o755), dir("etc/docker", 0o755), dir("etc/ssl", 0o755), dir("etc/ssl/certs", 0o755), dir("certs", 0o755), dir("certs/client", 0o755),
		link("bin", "usr/bin"), link("sbin", "usr/sbin"), link("lib", "usr/lib"), link("lib64", "usr/lib64"), link("var/run", "../run"),
		dir(installed, 0o755), dir(installed+"/rootfs", 0o755), link(installed+"/rootfs/usr", "../../../../usr"),
		dir(installed+"/host", 0o755), dir(installed+"/host/bin", 0o755), link(installed+"/host/bin/docker", "../../../../bin/docker"),
		// The names under which people call docker:dind's own scripts.
		dir("usr/local", 0o755), dir("usr/local/bin", 0o755),
		link("usr/local/bin/dockerd-entrypoint.sh", "../../bin/berth"), link("usr/local/bin/docker-entrypoint.sh", "../../bin/berth"),
	}
	for _, e := range entries {
		if err := w.write(e, nil); err != nil {
			return err
		}
	}
	bundle, err := os.ReadFile(o.Tree.File("usr/share/berth/etc/ssl/certs/ca-certificates.crt"))
	if err != nil {
		return err
	}
	files := []struct {
		name string
		mode int64
		data []byte
	}{
		{"usr/bin/berth", 0o755, program},
		{installed + "/manifest.json", 0o644, o.Manifest},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, bundle},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		{"etc/group", 0o644, []byte("root:x:0:\ntty:x:5:\ndocker:x:2375:\nnogroup:x:65534:\n")},
		{"etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n")},
		{"etc/os-release", 0o644, fmt.Appendf(nil, "ID=berth\nNAME=Berth\nPRETTY_NAME=\"Berth %s\"\nVERSION_ID=\"%s\"\n", o.Version, o.Version)},
	}
	for _, f := range files {
		if err := w.write(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data))}, f.data); err != nil {
			return err
		}
	}
	return w.write(link("etc/ssl/cert.pem", "certs/ca-certificates.crt"), nil)
}

func dir(name string, mode int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}
}

func link(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// tree adds the files below root that keep wants, in lexical order, as root's.
func (w *layerWriter) tree(ctx context.Context, root string, keep func(rel string) bool) error {
	return filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == root {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if !keep(rel) {
			return nil
		}
		return w.add(full, rel, d)
	})
}

func (w *layerWriter) add(full, rel string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return w.write(dir(rel, int64(mode.Perm())), nil)
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(full)
		if err != nil {
			return err
		}
		return w.write(link(rel, target), nil)
	case mode.IsRegular():
		f, err := os.Open(full)
		if err != nil {
			return err
		}
		defer f.Close()
		h := &tar.Header{Typeflag: tar.TypeReg, Name: rel, Mode: int64(mode.Perm()), Size: info.Size()}
		if err := w.header(h); err != nil {
			return err
		}
		_, err = io.Copy(counted{w}, f)
		return err
	}
	return fmt.Errorf("%s is neither file, directory nor link", path.Clean(rel))
}
