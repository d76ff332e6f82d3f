package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/snapshot/tree"
	"golang.org/x/sys/unix"
)

// sealBlobs makes blobs the host's: no engine can write to them, and as their directory
// belongs to each, all can forget them.
func (d *draft) sealBlobs(context.Context) error {
	found, err := entries(d.root, filepath.Join(dataDir, blobsDir))
	if err != nil || len(found) == 0 {
		return err
	}
	dir, err := d.root.Open(filepath.Join(dataDir, blobsDir))
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, e := range found {
		if !e.Type().IsRegular() {
			return fmt.Errorf("blob %s is not a file", e.Name())
		}
		if err := unix.Fchownat(int(dir.Fd()), e.Name(), 0, 0, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "chown", Path: e.Name(), Err: err}
		}
		if err := unix.Fchmodat(int(dir.Fd()), e.Name(), 0o444, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: e.Name(), Err: err}
		}
		if err := d.checkUnwritten(e.Name()); err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d.manifest.Size.Blobs += info.Size()
	}
	return nil
}

// checkUnwritten makes sure that a blob, which nobody in the source can open for writing any
// more, was not opened so before: a live source could go on writing to it.
func (d *draft) checkUnwritten(name string) error {
	if d.src.Live == nil {
		return nil
	}
	// Not blocking: whoever has a lease on the file could make this wait.
	f, err := d.root.OpenFile(filepath.Join(dataDir, blobsDir, name), unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := linux.CheckUnwritten(f); err != nil {
		return fmt.Errorf("blob %s: %w; stop the engine first", name, err)
	}
	return nil
}

// describe fills in the manifest.
func (d *draft) describe(ctx context.Context) error {
	data, err := d.root.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer data.Close()
	m := &d.manifest
	if m.Images, err = images(data); err != nil {
		return err
	}
	if m.Volumes, err = volumes(data); err != nil {
		return err
	}
	if m.Containers, err = containers(data); err != nil {
		return err
	}
	slices.SortFunc(m.Layers, func(a, b Layer) int { return layerNumber(a.Name) - layerNumber(b.Name) })
	for i := range m.Layers {
		sum, err := digestOf(ctx, d.root, filepath.Join(ownLayers, m.Layers[i].Name))
		if err != nil {
			return err
		}
		m.Layers[i].Tree = sum.Digest
		m.Size.Layers += sum.Bytes
	}
	sum, err := digestOf(ctx, d.root, dataDir)
	m.Metadata, m.Size.Metadata = sum.Digest, sum.Bytes-m.Size.Blobs
	return err
}

func layerNumber(name string) int { n, _ := strconv.Atoi(name); return n }

func digestOf(ctx context.Context, root *os.Root, dir string) (tree.Sum, error) {
	f, err := root.Open(dir)
	if err != nil {
		return tree.Sum{}, err
	}
	defer f.Close()
	return tree.Digest(ctx, f)
}

// volumes lists the volumes with names that people gave; dockerd's own are digits and letters.
func volumes(data *os.Root) ([]string, error) {
	found, err := entries(data, volumesDir)
	var out []string
	for _, e := range found {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// containers lists the names of containers; one whose record cannot be read goes by its id.
func containers(data *os.Root) ([]string, error) {
	found, err := entries(data, containersDir)
	var out []string
	for _, e := range found {
		name := e.Name()
		var record struct{ Name string }
		if b, err := readRegular(data, filepath.Join(containersDir, name, "config.v2.json")); err == nil && json.Unmarshal(b, &record) == nil && record.Name != "" {
			name = strings.TrimPrefix(record.Name, "/")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out, err
}

// readRegular reads a file of moderate size that an engine may have made anything of.
func readRegular(root *os.Root, name string) ([]byte, error) {
	const largest = 4 << 20
	f, err := root.OpenFile(name, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > largest {
		return nil, fmt.Errorf("%s is not a file, or too large", name)
	}
	return io.ReadAll(io.LimitReader(f, largest))
}
