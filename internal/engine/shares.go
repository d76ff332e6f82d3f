package engine

import (
	"context"
	"fmt"
	"os/user"
	"strconv"

	sysuser "github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
)

// shareMaps returns the id maps of the engine's shares, and records which ids on disk are
// the engine's, so that they can be given back to the owner.
func (l *launch) shareMaps() (uids, gids []specs.LinuxIDMapping, err error) {
	spec := &l.info.Spec
	engine := ids.Range{First: 0, Size: ids.Size}
	if l.info.IDs != nil {
		engine = *l.info.IDs
	}
	var asUID, asGID int
	if spec.ShareAs == ShareAsKeepID {
		asUID, asGID = spec.Owner.UID, spec.Owner.GID
	}
	l.info.ShareUIDs = l.subordinate(l.host.SubUIDs)
	l.info.ShareGIDs = l.subordinate(l.host.SubGIDs)
	if uids, err = ids.ShareMap(engine, uint32(spec.Owner.UID), uint32(asUID), l.info.ShareUIDs); err != nil {
		return nil, nil, &SpecError{"--share-as", err.Error()}
	}
	if gids, err = ids.ShareMap(engine, uint32(spec.Owner.GID), uint32(asGID), l.info.ShareGIDs); err != nil {
		return nil, nil, &SpecError{"--share-as", err.Error()}
	}
	return uids, gids, nil
}

// subordinate is where the ids other than the owner's go on disk: the owner's own
// subordinate range, or else the engine's.
func (l *launch) subordinate(subs []sysuser.SubID) ids.Range {
	uid := l.info.Spec.Owner.UID
	name := ""
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	if r, ok := ids.Subordinate(subs, name, uid); ok {
		return r
	}
	if l.info.IDs != nil && l.info.IDs.First != 0 {
		return *l.info.IDs
	}
	return ids.Range{First: uint32(ids.First + l.info.Slot*ids.Size), Size: ids.Size}
}

// giveBack makes the owner of the shares owner of everything that the engine left there
// under other ids. The engine has ended: nothing changes there by its hand any more. The ids may
// be those of the user's other containers too (rootless Podman and Docker); what has not changed since the
// engine was made is theirs.
func (m *Manager) giveBack(ctx context.Context, info *Info) error {
	owner := info.Spec.Owner
	for _, s := range info.Spec.Shares {
		if s.ReadOnly || s.Inode == 0 || info.ShareUIDs.Size == 0 {
			continue
		}
		err := linux.Reown(ctx, s.Path, s.Device, s.Inode, info.Created, func(uid, gid int) (int, int) {
			if info.ShareUIDs.Contains(uid) {
				uid = owner.UID
			}
			if info.ShareGIDs.Contains(gid) {
				gid = owner.GID
			}
			return uid, gid
		})
		if err != nil {
			return fmt.Errorf("give %s back to uid %d: %w", s.Path, owner.UID, err)
		}
	}
	return nil
}
