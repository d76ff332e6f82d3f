package linux

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Project quotas: every file belongs to a project, a number, and a file system that has been
// mounted for it (prjquota) bounds what a project's files take (quotactl(2), quotactl_fd:
// Linux 5.14; ioctl_fsgetxattr, Documentation/filesystems/ext4 and xfs).

// xfsQuotaState is fs_quota_statv (linux/dqblk_xfs.h); these commands work for ext4 as well.
type xfsQuotaState struct {
	Version int8
	_       uint8
	Flags   uint16
	_       [156]byte
}

// xfsDiskQuota is fs_disk_quota (linux/dqblk_xfs.h). Blocks have 512 bytes.
type xfsDiskQuota struct {
	Version        int8
	Flags          int8
	FieldMask      uint16
	ID             uint32
	HardBlocks, _  uint64
	HardInodes, _  uint64
	Blocks, Inodes uint64
	_, _           int32
	_, _           uint16
	_              [4]int8
	_, _, _        uint64
	_              int32
	_              uint16
	_              int16
	_              [8]byte
}

// fsXAttr is struct fsxattr (linux/fs.h).
type fsXAttr struct {
	Flags   uint32
	_, _    uint32
	Project uint32
	_       uint32
	_       [8]byte
}

// From linux/dqblk_xfs.h, linux/quota.h and linux/fs.h.
const (
	quotaProjects   = 2 // PRJQUOTA
	cmdGetQuota     = 'X'<<8 + 3
	cmdSetLimit     = 'X'<<8 + 4
	cmdGetState     = 'X'<<8 + 8
	projectEnforced = 1 << 5 // FS_QUOTA_PDQ_ENFD
	projectQuota    = 1 << 1 // FS_PROJ_QUOTA
	maskHardInodes  = 1 << 1 // FS_DQ_IHARD
	maskHardBlocks  = 1 << 3 // FS_DQ_BHARD
	getXAttr        = 0x801c581f
	setXAttr        = 0x401c5820
	inheritProject  = 0x200 // FS_XFLAG_PROJINHERIT
	quotaBlock      = 512
)

func quotactl(f *os.File, cmd int, id uint32, addr unsafe.Pointer) error {
	return retry(func() error {
		_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(cmd<<8|quotaProjects), uintptr(id), uintptr(addr), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// EnforcesProjects reports whether the file system of f bounds what projects take. One that
// has no quotas at all, or a kernel without quotactl_fd, is an error.
func EnforcesProjects(f *os.File) (bool, error) {
	s := xfsQuotaState{Version: 1}
	if err := quotactl(f, cmdGetState, 0, unsafe.Pointer(&s)); err != nil {
		return false, os.NewSyscallError("quotactl_fd Q_XGETQSTATV", err)
	}
	return s.Flags&projectEnforced != 0, nil
}

// LimitProject bounds what the files of a project on the file system of f can take, in bytes,
// and how many there can be; 0 ends that.
func LimitProject(f *os.File, project uint32, bytes, files int64) error {
	q := xfsDiskQuota{
		Version: 1, Flags: projectQuota, FieldMask: maskHardBlocks | maskHardInodes, ID: project,
		HardBlocks: uint64(bytes) / quotaBlock, HardInodes: uint64(files),
	}
	return os.NewSyscallError("quotactl_fd Q_XSETQLIM", quotactl(f, cmdSetLimit, project, unsafe.Pointer(&q)))
}

// ProjectUse is what the files of a project take, and may take.
type ProjectUse struct {
	Bytes, Files       int64
	MaxBytes, MaxFiles int64 // 0: as many as there are
}

// UseOfProject returns the use of a project on the file system of f: none at all for one that
// nobody has ever used.
func UseOfProject(f *os.File, project uint32) (ProjectUse, error) {
	var q xfsDiskQuota
	err := quotactl(f, cmdGetQuota, project, unsafe.Pointer(&q))
	if err == unix.ENOENT {
		return ProjectUse{}, nil
	}
	use := ProjectUse{
		Bytes: int64(q.Blocks) * quotaBlock, Files: int64(q.Inodes),
		MaxBytes: int64(q.HardBlocks) * quotaBlock, MaxFiles: int64(q.HardInodes),
	}
	return use, os.NewSyscallError("quotactl_fd Q_XGETQUOTA", err)
}

// Project returns the project of what is made in a directory; 0 is nobody's.
func Project(dir *os.File) (uint32, error) {
	var a fsXAttr
	if err := ioctlXAttr(dir, getXAttr, &a); err != nil || a.Flags&inheritProject == 0 {
		return 0, err
	}
	return a.Project, nil
}

// ProjectOf returns the project that a file or directory counts for.
func ProjectOf(f *os.File) (uint32, error) {
	var a fsXAttr
	err := ioctlXAttr(f, getXAttr, &a)
	return a.Project, err
}

// LinkOutside links a file into a directory, under the same name. The file goes on counting for
// the project that it has: link(2) refuses that (EXDEV) as long as what is made in the directory
// is to inherit another (FS_XFLAG_PROJINHERIT), which is suspended for it. Nobody else makes
// anything there meanwhile. The caller is in the initial user namespace. What link(2) itself says
// is returned as it is.
func LinkOutside(from *os.File, name string, to *os.File) error {
	var a fsXAttr
	if err := ioctlXAttr(to, getXAttr, &a); err != nil {
		return err
	}
	suspended := a
	suspended.Flags &^= inheritProject
	if err := ioctlXAttr(to, setXAttr, &suspended); err != nil {
		return err
	}
	err := unix.Linkat(int(from.Fd()), name, int(to.Fd()), name, 0)
	if again := ioctlXAttr(to, setXAttr, &a); again != nil {
		return errors.Join(err, again)
	}
	return err
}

// SetProject puts a directory, and what is made in it from then on, into a project; 0 takes
// it out of any. The caller is in the initial user namespace: nobody in another can leave a
// project (Linux 4.5).
func SetProject(dir *os.File, project uint32) error {
	var a fsXAttr
	if err := ioctlXAttr(dir, getXAttr, &a); err != nil {
		return err
	}
	a.Project, a.Flags = project, a.Flags|inheritProject
	if project == 0 {
		a.Flags &^= inheritProject
	}
	return ioctlXAttr(dir, setXAttr, &a)
}

func ioctlXAttr(f *os.File, request uintptr, a *fsXAttr) error {
	err := retry(func() error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(a))); errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return &os.PathError{Op: "ioctl FS_IOC_FSXATTR", Path: f.Name(), Err: err}
	}
	return nil
}
