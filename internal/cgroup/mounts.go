package cgroup

import (
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ReadOnly tells whether groups cannot be made here because what is mounted is read-only, as in a
// container without privileges, or nothing is. It looks at each hierarchy: on cgroup v1 the
// directory above them does not count.
func ReadOnly() bool {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil || len(mounts) == 0 {
		return true
	}
	for _, m := range mounts {
		var st unix.Statfs_t
		if unix.Statfs(m.Mountpoint, &st) != nil || st.Flags&unix.ST_RDONLY != 0 {
			return true
		}
	}
	return false
}
