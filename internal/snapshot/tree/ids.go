package tree

import (
	"encoding/binary"
	"slices"

	"github.com/berth-dev/berth/internal/ids"
)

// shift takes an id of one range to the same place in another, and any other id to its first.
func shift(id uint32, from, to ids.Range) int {
	if from.Contains(int(id)) && id-from.First < to.Size {
		return int(to.First + id - from.First)
	}
	return int(to.First)
}

// A program's capabilities, revisions 2 and 3. The third ends with the id of a user
// namespace's root, whose they are (capabilities(7), "File capability versioning").
const (
	capabilityAttr       = "security.capability"
	revision2, revision3 = 0x02000000, 0x03000000
	revisionMask         = 0xff000000
	size2, size3         = 20, 24
)

func revision(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(value) & revisionMask
}

// shiftCapability changes whose root a program's capabilities are for.
func shiftCapability(value []byte, shift func(uint32) int) {
	if revision(value) == revision3 && len(value) == size3 {
		root := binary.LittleEndian.Uint32(value[size2:])
		binary.LittleEndian.PutUint32(value[size2:], uint32(shift(root)))
	}
}

// packCapability makes capabilities of the range's root those of whoever is root.
func packCapability(value []byte, owner ids.Range) []byte {
	if revision(value) != revision3 || len(value) != size3 {
		return value
	}
	if root := binary.LittleEndian.Uint32(value[size2:]); root != owner.First {
		shiftCapability(value, func(id uint32) int { return shift(id, owner, ids.Range{Size: owner.Size}) })
		return value
	}
	out := slices.Clone(value[:size2])
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(out)&^revisionMask|revision2)
	return out
}

// unpackCapability is the reverse: no program gets capabilities outside of the range's user
// namespace, unless the range begins with the host's root.
func unpackCapability(value []byte, owner ids.Range) ([]byte, bool) {
	switch {
	case revision(value) == revision2 && len(value) == size2:
		if owner.First == 0 {
			return value, true
		}
		out := binary.LittleEndian.AppendUint32(slices.Clone(value), owner.First)
		binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(out)&^revisionMask|revision3)
		return out, true
	case revision(value) == revision3 && len(value) == size3:
		shiftCapability(value, func(id uint32) int { return shift(id, ids.Range{Size: owner.Size}, owner) })
		return value, true
	}
	return nil, false
}

func isACL(attr string) bool {
	return attr == "system.posix_acl_access" || attr == "system.posix_acl_default"
}

// shiftACL changes the users and groups in an access control list, as the kernel has it in
// an extended attribute: a version, then tag, permissions and id of each entry
// (Linux, include/uapi/linux/posix_acl_xattr.h).
func shiftACL(value []byte, shift func(uint32) int) {
	const header, entry, version, user, group = 4, 8, 2, 0x02, 0x08
	if len(value) < header || binary.LittleEndian.Uint32(value) != version {
		return
	}
	for e := value[header:]; len(e) >= entry; e = e[entry:] {
		if tag := binary.LittleEndian.Uint16(e); tag == user || tag == group {
			binary.LittleEndian.PutUint32(e[4:], uint32(shift(binary.LittleEndian.Uint32(e[4:]))))
		}
	}
}
