package disklimit

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"

	"github.com/berth-dev/berth/internal/linux"
)

// Projects that are berth's: at least firstProject, below twice that.
const firstProject = 1 << 30

func isOurs(project uint32) bool {
	return project >= firstProject && project-firstProject < firstProject
}

// TryQuota says why a directory in dir cannot be bounded by a project quota, or nil. It
// changes nothing.
func TryQuota(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return tryQuota(f)
}

func tryQuota(dir *os.File) error {
	project, err := enforced(dir)
	if err == nil && project != 0 { // out of that project, it would not count for its limit any more
		err = fmt.Errorf("%w by a project quota: %s is in project %d", ErrUnable, dir.Name(), project)
	}
	return err
}

// enforced returns the project of a directory, and [ErrUnable] where limits of projects are
// not enforced.
func enforced(dir *os.File) (project uint32, err error) {
	on, err := linux.EnforcesProjects(dir)
	if err == nil && !on {
		err = errors.New("the file system is mounted without prjquota")
	}
	if err == nil { // a container may have it in sight and not at hand
		_, err = linux.UseOfProject(dir, firstProject)
	}
	if err == nil {
		project, err = linux.Project(dir)
	}
	if err != nil {
		err = fmt.Errorf("%w by a project quota: %w", ErrUnable, err)
	}
	return project, err
}

// Bound bounds the empty directory dir by a project quota. It holds whoever is in a user
// namespace other than the initial one, or has no CAP_SYS_RESOURCE. When there is an error, dir
// is as before; it is [ErrUnable] where there are no quotas to be had.
func Bound(dir string, size int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tryQuota(f); err != nil {
		return err
	}
	taken, err := named(projectFiles)
	if err != nil {
		return err
	}
	for {
		project := uint32(firstProject + rand.N(firstProject))
		if taken[project] {
			continue
		}
		entered, err := enter(f, project)
		if err != nil {
			return err
		}
		if entered {
			// In this order: what a crash leaves is seen from the directory.
			if err := limit(f, project, size); err != nil {
				return errors.Join(err, linux.SetProject(f, 0))
			}
			return nil
		}
	}
}

// enter puts a directory into a project, unless that has files or a limit. Of two that enter
// the same at the same time, one stays at most.
func enter(dir *os.File, project uint32) (bool, error) {
	use, err := linux.UseOfProject(dir, project)
	if err != nil || use != (linux.ProjectUse{}) {
		return false, err
	}
	if err := linux.SetProject(dir, project); err != nil {
		return false, err
	}
	use, err = linux.UseOfProject(dir, project)
	if err == nil && use == (linux.ProjectUse{Bytes: use.Bytes, Files: 1}) {
		return true, nil
	}
	return false, errors.Join(err, linux.SetProject(dir, 0))
}

// bytesAFile is how many bytes there are for each file, as in a small file system of the
// kind that is the alternative (mke2fs.conf(5), inode_ratio): files without bytes take something
// as well, and the disk has only so many.
const bytesAFile = 4 << 10

func limit(f *os.File, project uint32, size int64) error {
	return linux.LimitProject(f, project, size, size/bytesAFile)
}

// Rebound makes sure that a directory that Bound has bounded still is. It returns
// [ErrUnable] when that is not so.
func Rebound(dir string, size int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	project, err := enforced(f)
	if err != nil {
		return err
	}
	if !isOurs(project) {
		return fmt.Errorf("%w by a project quota: %s is not in a project of berth's any more", ErrUnable, dir)
	}
	return limit(f, project, size)
}

// Unbound ends what Bound began, for a directory that is thrown away. It may be called for
// any, and for one that does not exist.
func Unbound(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	project, err := linux.Project(f)
	if err != nil || !isOurs(project) {
		return nil // a file system that knows no projects says so by an error
	}
	err = limit(f, project, 0)
	if _, off := enforced(f); off != nil {
		return nil // nobody is bounded; another time, no other directory gets this project
	}
	return err
}
