package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/disklimit"
	"github.com/berth-dev/berth/internal/doctor"
	"github.com/berth-dev/berth/internal/snapshot"
	"github.com/berth-dev/berth/internal/state"
)

// lookAtDisk says how forks share layers here, and whether --disk works.
func (a *app) lookAtDisk(ctx context.Context, paths state.Paths) []doctor.Result {
	if os.Geteuid() != 0 {
		return nil // neither can be tried
	}
	dir := paths.State
	for _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && dir != "/"; _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	driver, worse := snapshot.Open(paths, a.log()).Sharing(ctx, dir)
	forks := doctor.Result{Name: "forks", Status: doctor.OK, Detail: fmt.Sprintf("layers of snapshots are shared by %s", driver)}
	if driver == "copy" {
		forks = doctor.Result{
			Name: "forks", Status: doctor.Warn, Detail: fmt.Sprintf("layers of snapshots are copied in full: %s", oneLine(errors.Join(worse...).Error())),
			Remedy: "keep " + paths.State + " on ext4, xfs, btrfs or, from Linux 6.3, tmpfs",
		}
	}
	limit := doctor.Result{Name: "disk limits", Status: doctor.OK, Detail: "--disk works, by a file system in a file"}
	if disklimit.TryQuota(dir) == nil {
		limit.Detail = "--disk works, by project quotas"
	} else if err := disklimit.Try(); err != nil {
		limit = doctor.Result{Name: "disk limits", Status: doctor.Warn, Detail: "no engine can have --disk: " + err.Error(), Remedy: "install e2fsprogs; in a container, give it /dev/loop-control and /dev/loop*"}
	}
	return []doctor.Result{forks, limit}
}
