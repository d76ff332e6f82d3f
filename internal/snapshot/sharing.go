package snapshot

import (
	"context"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers"
)

// Sharing says by which driver forks on the file system of dir come by their layers, and why
// by none that is better. It leaves nothing behind.
func (s *Store) Sharing(ctx context.Context, dir string) (driver string, worse []error) {
	// Any two ranges: what matters is that they differ.
	base, to := layers.Base{Dir: dir, IDs: ids.Range{First: ids.First, Size: ids.Size}}, ids.Range{First: ids.First + ids.Size, Size: ids.Size}
	for _, d := range s.drivers {
		err := d.Try(ctx, dir, []layers.Base{base}, to)
		if err == nil {
			return d.Name(), worse
		}
		worse = append(worse, err)
	}
	return "", worse
}
