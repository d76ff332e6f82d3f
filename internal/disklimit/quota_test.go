package disklimit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
)

// quotaFS mounts a file system that has project quotas, where this machine has them.
func quotaFS(t *testing.T, mkfs ...string) (image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts are root's to make")
	}
	base := t.TempDir()
	image, dir = filepath.Join(base, "image"), filepath.Join(base, "dir")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 400<<20), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", mkfs[0], err, out)
	}
	if err := mountFS(image, dir, "loop,prjquota"); err != nil {
		t.Skipf("this machine cannot mount with project quotas: %v", err)
	}
	t.Cleanup(func() {
		if err := Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return image, dir
}

func mountFS(image, dir, options string) error {
	if out, err := exec.Command("mount", "-o", options, image, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// envAct has the test's program be root of a user namespace, who does what it names.
const envAct = "BERTH_TEST_ACT"

// acts are what such a root does: leave a directory's project, or write a file.
var acts = map[string]func(path string) error{
	"leave": func(path string) error {
		f, err := os.Open(path)
		if err == nil {
			err = linux.SetProject(f, 0)
		}
		return err
	},
	"half":  func(path string) error { return os.WriteFile(path, make([]byte, Least/2), 0o600) },
	"whole": func(path string) error { return os.WriteFile(path, make([]byte, Least), 0o600) },
	"many": func(path string) (err error) {
		for i := 0; i <= Least/bytesAFile && err == nil; i++ {
			err = os.WriteFile(fmt.Sprint(path, i), nil, 0o600)
		}
		return err
	},
}

func TestMain(m *testing.M) {
	name, path, ok := strings.Cut(os.Getenv(envAct), " ")
	if !ok {
		os.Exit(m.Run())
	}
	var errno unix.Errno
	if err := acts[name](path); errors.As(err, &errno) {
		os.Exit(int(errno))
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
}

// inNamespace acts as root of a user namespace and returns its error number, or 0.
func inNamespace(t *testing.T, act, path string) unix.Errno {
	t.Helper()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envAct+"="+act+" "+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() == 255 {
		t.Fatalf("root of a user namespace: %v: %s", err, out)
	}
	return unix.Errno(cmd.ProcessState.ExitCode())
}

// withinLimits acts as berth itself does.
func withinLimits(t *testing.T, act, path string) unix.Errno {
	t.Helper()
	var errno unix.Errno
	if err := linux.WithinLimits(func() error { return acts[act](path) }); err != nil && !errors.As(err, &errno) {
		t.Fatal(err)
	}
	return errno
}

func TestQuota(t *testing.T) {
	for _, mkfs := range [][]string{{"mkfs.ext4", "-q", "-F", "-O", "project,quota"}, {"mkfs.xfs", "-q", "-f"}} {
		t.Run(mkfs[0], func(t *testing.T) {
			image, fs := quotaFS(t, mkfs...)
			if err := TryQuota(fs); err != nil {
				t.Fatal(err)
			}
			dir := bound(t, fs, "dir")
			t.Run("holds", func(t *testing.T) { holds(t, dir) })
			t.Run("told", func(t *testing.T) { looksLike(t, dir, Least) })
			t.Run("cannot be left", func(t *testing.T) {
				if errno := inNamespace(t, "leave", dir); errno != unix.EINVAL && errno != unix.EPERM {
					t.Errorf("root of a user namespace: %v", errno)
				}
			})
			t.Run("own projects", func(t *testing.T) { ownProjects(t, fs, dir) })
			t.Run("others' projects", func(t *testing.T) { othersProjects(t, fs) })
			t.Run("again", func(t *testing.T) { again(t, image, fs, dir) })
			if err := Unbound(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/more", make([]byte, Least*2), 0o600); err != nil {
				t.Errorf("after the end of the limit: %v", err)
			}
		})
	}
}

func bound(t *testing.T, fs, name string) string {
	t.Helper()
	dir := filepath.Join(fs, name)
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := Bound(dir, Least); err != nil {
		t.Fatal(err)
	}
	return dir
}

// holds makes sure that dir holds the least limit and no more, time and again.
func holds(t *testing.T, dir string) {
	t.Helper()
	for who, act := range map[string]func(*testing.T, string, string) unix.Errno{"root of a user namespace": inNamespace, "berth": withinLimits} {
		for range 2 {
			if errno := act(t, "half", dir+"/half"); errno != 0 {
				t.Fatalf("%s: %v", who, errno)
			}
			if err := os.Mkdir(dir+"/below", 0o700); err != nil {
				t.Fatal(err)
			}
			if errno := act(t, "whole", dir+"/below/more"); errno != unix.ENOSPC && errno != unix.EDQUOT {
				t.Errorf("%s wrote more than the limit: %v", who, errno)
			}
			if err := errors.Join(os.RemoveAll(dir+"/below"), os.Remove(dir+"/half")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(dir+"/below", 0o700); err != nil {
		t.Fatal(err)
	}
	if errno := inNamespace(t, "many", dir+"/below/"); errno != unix.ENOSPC && errno != unix.EDQUOT {
		t.Errorf("more files than the limit were made: %v", errno)
	}
	if err := os.RemoveAll(dir + "/below"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/../outside", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(dir+"/../outside", dir+"/link"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("a file of another project was linked: %v", err)
	}
	linkedOutside(t, dir)
}

// linkedOutside makes sure that a file outside can be had in dir, and does not count.
func linkedOutside(t *testing.T, dir string) {
	t.Helper()
	fs, to := open(t, filepath.Dir(dir)), open(t, dir)
	project := projectOf(t, dir)
	before, err := linux.UseOfProject(fs, project)
	if err != nil {
		t.Fatal(err)
	}
	if err := linux.LinkOutside(fs, "outside", to); err != nil {
		t.Fatal(err)
	}
	if err := linux.LinkOutside(fs, "outside", to); err != unix.EEXIST {
		t.Errorf("a second time: %v", err)
	}
	if of, err := linux.ProjectOf(open(t, dir+"/outside")); err != nil || of != 0 {
		t.Errorf("what was linked is in project %d, %v", of, err)
	}
	if after, err := linux.UseOfProject(fs, project); err != nil || after.Files != before.Files {
		t.Errorf("before there were %+v, then %+v, %v", before, after, err)
	}
	if errno := inNamespace(t, "half", dir+"/more"); errno != 0 {
		t.Fatal(errno)
	}
	if of, err := linux.ProjectOf(open(t, dir+"/more")); err != nil || of != project {
		t.Errorf("what is made afterwards is in project %d, %v; want %d", of, err, project)
	}
	if err := errors.Join(os.Remove(dir+"/outside"), os.Remove(dir+"/more")); err != nil {
		t.Fatal(err)
	}
}

// looksLike makes sure that programs inside are told of a disk of that size.
func looksLike(t *testing.T, dir string, size int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Blocks)*st.Bsize != size {
		t.Errorf("a disk of %d bytes, %v; want %d", int64(st.Blocks)*st.Bsize, err, size)
	}
}

// ownProjects makes sure that dir shares its project with nobody, nor does another get it.
func ownProjects(t *testing.T, fs, dir string) {
	t.Helper()
	second := bound(t, fs, "second")
	one, two := projectOf(t, dir), projectOf(t, second)
	if one == two || !isOurs(one) || !isOurs(two) {
		t.Errorf("projects %d and %d", one, two)
	}
	if err := os.Mkdir(fs+"/third", 0o711); err != nil {
		t.Fatal(err)
	}
	third := open(t, fs+"/third")
	for _, taken := range []uint32{one, two} {
		if entered, err := enter(third, taken); entered || err != nil || projectOf(t, third.Name()) != 0 {
			t.Errorf("a second directory entered project %d: %v, %v", taken, entered, err)
		}
	}
	// One that is only limited, by somebody else.
	const limitedOnly = firstProject - 1
	if err := limit(third, limitedOnly, Least); err != nil {
		t.Fatal(err)
	}
	if entered, err := enter(third, limitedOnly); entered || err != nil {
		t.Errorf("a limited project was entered: %v, %v", entered, err)
	}
	if err := errors.Join(Unbound(second), os.Remove(second)); err != nil {
		t.Fatal(err)
	}
	freed(t, third, two)
}

// freed waits until a project has no use and no limit: xfs forgets files in the background.
func freed(t *testing.T, f *os.File, project uint32) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		use, err := linux.UseOfProject(f, project)
		if err == nil && use == (linux.ProjectUse{}) {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("after its directory is gone, project %d has %+v, %v", project, use, err)
		}
	}
}

// othersProjects makes sure that what counts for another project goes on to.
func othersProjects(t *testing.T, fs string) {
	t.Helper()
	if err := os.Mkdir(fs+"/theirs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := linux.SetProject(open(t, fs+"/theirs"), 77); err != nil {
		t.Fatal(err)
	}
	if err := TryQuota(fs + "/theirs"); !errors.Is(err, ErrUnable) || !strings.Contains(err.Error(), "project 77") {
		t.Errorf("in a project: %v", err)
	}
	inside := fs + "/theirs/dir"
	if err := os.Mkdir(inside, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := Bound(inside, Least); !errors.Is(err, ErrUnable) || projectOf(t, inside) != 77 {
		t.Errorf("a directory in another project was bounded: %v", err)
	}
}

// again mounts the file system anew, without quotas and with.
func again(t *testing.T, image, fs, dir string) {
	t.Helper()
	if err := errors.Join(unix.Unmount(fs, 0), mountFS(image, fs, "loop")); err != nil {
		t.Fatal(err)
	}
	if err := Rebound(dir, Least); !errors.Is(err, ErrUnable) {
		t.Errorf("without quotas: %v", err)
	}
	if err := Unbound(dir); err != nil {
		t.Errorf("without quotas: %v", err)
	}
	if err := errors.Join(unix.Unmount(fs, 0), mountFS(image, fs, "loop,prjquota")); err != nil {
		t.Fatal(err)
	}
	if err := Rebound(dir, Least*2); err != nil {
		t.Fatal(err)
	}
	looksLike(t, dir, Least*2)
	if err := Rebound(fs+"/third", Least); !errors.Is(err, ErrUnable) {
		t.Errorf("a directory that nobody has bounded: %v", err)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func projectOf(t *testing.T, path string) uint32 {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	project, err := linux.Project(dir)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Where there are no project quotas, nothing is changed, and that is said.
func TestNoQuota(t *testing.T) {
	_, dir := limited(t, Options{Size: Least, Volatile: true})
	for what, err := range map[string]error{"try": TryQuota(dir), "bound": Bound(dir, Least), "rebound": Rebound(dir, Least)} {
		if !errors.Is(err, ErrUnable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(Unbound(dir), Unbound(dir+"/none")); err != nil {
		t.Error(err)
	}
}
