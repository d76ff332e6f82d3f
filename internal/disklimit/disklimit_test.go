package disklimit

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func limited(t *testing.T, o Options) (image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts are root's to make")
	}
	base := t.TempDir()
	image, dir = filepath.Join(base, "image"), filepath.Join(base, "dir")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	err := Make(t.Context(), image, dir, o)
	if errors.Is(err, ErrUnable) || errors.Is(err, unix.EPERM) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return image, dir
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestLimit(t *testing.T) {
	image, dir := limited(t, Options{Size: Least, Owner: 1234, Volatile: true})
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it is not empty: %v", left)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Uid != 1234 || st.Gid != 1234 {
		t.Errorf("owner %d:%d, %v", st.Uid, st.Gid, err)
	}
	if got := blocks(t, image); got > 4<<20 {
		t.Errorf("an empty one takes %d bytes of the disk", got)
	}
	if err := os.WriteFile(dir+"/half", make([]byte, Least/2), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/more", make([]byte, Least), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than the limit was written: %v", err)
	}
	if err := Unmount(dir); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := Mount(image, dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/half"); err != nil || info.Size() != Least/2 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestUnable(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := Make(t.Context(), dir+"/image", dir, Options{Size: Least}); !errors.Is(err, ErrUnable) {
		t.Errorf("without mkfs.ext4: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
