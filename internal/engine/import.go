package engine

import (
	"context"
	"errors"
	mathrand "math/rand/v2"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
)

// ImportSnapshot makes a snapshot of one that comes from elsewhere. isolation is that of
// the engines it is for; empty: of the one it was made of. See [snapshot.Store.Import].
func (m *Manager) ImportSnapshot(ctx context.Context, in *artifact.Incoming, name string, isolation Isolation, progress func(done, total int64)) (*snapshot.Manifest, error) {
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	m.collectFirst(ctx)
	if isolation == "" {
		isolation = Isolation(in.Config.Isolation)
	}
	owners := (&Info{}).ownerIDs()
	if isolation != IsolationRootful {
		var err error
		if owners, err = someIDs(); err != nil {
			return nil, err
		}
	}
	return m.Snapshots().Import(ctx, in, snapshot.Importing{Name: name, Isolation: string(isolation), IDs: owners, Progress: progress})
}

// someIDs are a range to own files on disk, as an engine's are when it is gone. Nobody needs
// to have it alone: what other engines see of the files is shifted to ids of theirs.
func someIDs() (ids.Range, error) {
	host, err := ids.ReadHost()
	if err != nil {
		return ids.Range{}, err
	}
	for range ids.Slots {
		if r, ok := host.Slot(mathrand.IntN(ids.Slots)); ok {
			return r, nil
		}
	}
	return ids.Range{}, errors.New("find ids for the snapshot's files: every range from 524288 to 1879048191 is taken by /etc/subuid; free some")
}
