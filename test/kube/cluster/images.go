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

// LoadBasics gives the node the images that every test needs: BusyImage, and that of the
// pods' first containers.
func (c *Cluster) LoadBasics(ctx context.Context) error {
	busybox := filepath.Join(c.bin, "busybox")
	for ref, o := range map[string]image.Options{
		BusyImage:  {Busybox: busybox},
		pauseImage: {Busybox: busybox, Cmd: []string{"sleep", "2000000000"}},
	} {
		img, err := image.Build(o)
		if err != nil {
			return err
		}
		archive := filepath.Join(c.dir, "image.tar")
		if err := image.SaveTar(archive, ref, img); err != nil {
			return err
		}
		err = c.Load(ctx, archive)
		os.Remove(archive)
		if err != nil {
			return err
		}
	}
	return nil
}
