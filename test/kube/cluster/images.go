package cluster

import (
	"context"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/test/image"
)

const (
	// BusyImage is a small image with a shell that the node has.
	BusyImage  = "localhost/busy:1"
	pauseImage = "localhost/pause:1"
)

// makeImages makes those that every test needs: BusyImage, and that of the pods' first
// containers.
func (c *Cluster) makeImages() error {
	busybox := filepath.Join(c.bin, "busybox")
	dir := filepath.Join(c.dir, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, o := range map[string]image.Options{
		"busy":  {Busybox: busybox},
		"pause": {Busybox: busybox, Cmd: []string{"sleep", "2000000000"}},
	} {
		img, err := image.Build(o)
		if err != nil {
			return err
		}
		archive := filepath.Join(dir, name+".tar")
		if err := image.SaveTar(archive, "localhost/"+name+":1", img); err != nil {
			return err
		}
		c.images = append(c.images, archive)
	}
	return nil
}

func (c *Cluster) loadImages(ctx context.Context) error {
	for _, archive := range c.images {
		if err := c.Load(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}
