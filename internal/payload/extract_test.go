package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

func TestExtract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "payload")
	p := fake(t)
	var last, total int64
	tree, err := p.Extract(t.Context(), dir, func(d, n int64) { last, total = d, n })
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(3<<20 + 1010); last != want || total != want {
		t.Errorf("progress ended at %d of %d, want %d", last, total, want)
	}
	data, err := os.ReadFile(tree.Docker())
	if err != nil || !bytes.Equal(data, content("rootfs/usr/bin/docker", 3<<20)) {
		t.Errorf("docker has %d bytes, error %v", len(data), err)
	}
	info, err := os.Stat(tree.Runc())
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("runc: %v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // the tree, its stamp, the lock
		t.Errorf("%v, %v", entries, err)
	}
	again, err := p.Extract(t.Context(), dir, func(int64, int64) { t.Error("extracted twice") })
	if err != nil || *again != *tree {
		t.Errorf("second time: %v, %v", again, err)
	}
}

func TestNotBuilt(t *testing.T) {
	if _, err := Open(fstest.MapFS{"README": {}}); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("got %v", err)
	}
}

// countingFS counts how often an archive is opened.
type countingFS struct {
	fs.FS
	opened *atomic.Int32
}

func (c countingFS) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".zst") {
		c.opened.Add(1)
	}
	return c.FS.Open(name)
}

func TestExtractConcurrently(t *testing.T) {
	dir := t.TempDir()
	fsys := countingFS{fakeFS(t, fakeFiles()), new(atomic.Int32)}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			p, err := Open(fsys)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := p.Extract(t.Context(), dir, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fsys.opened.Load(); n != 2 {
		t.Errorf("two archives were opened %d times", n)
	}
}

func TestWaitForLockIsCancelled(t *testing.T) {
	dir := t.TempDir()
	release, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := fake(t).Extract(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	release()
	if _, err := fake(t).Extract(t.Context(), dir, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestCancelledExtractionLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := fake(t).Extract(ctx, dir, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantOnlyLock(t, dir)
}

func wantOnlyLock(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestDeadProcessesTreesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, tempPrefix+"123", "rootfs")
	if err := os.MkdirAll(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := fake(t).Extract(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unfinished tree is still there: %v", err)
	}
}

func TestDirectoryOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := fake(t).Extract(t.Context(), dir, nil)
	if err == nil || !strings.Contains(err.Error(), "writable by others") {
		t.Errorf("got %v", err)
	}
}

func TestDamagedArchives(t *testing.T) {
	evil := func(h tar.Header) func(t *testing.T, fsys fstest.MapFS) {
		return func(t *testing.T, fsys fstest.MapFS) {
			all := append(headers(fakeFiles()["data"]), h)
			fsys["data.tar.zst"].Data = archiveOf(t, all)
		}
	}
	for name, damage := range map[string]func(*testing.T, fstest.MapFS){
		"truncated":  func(_ *testing.T, f fstest.MapFS) { a := f["data.tar.zst"]; a.Data = a.Data[:len(a.Data)/2] },
		"empty":      func(_ *testing.T, f fstest.MapFS) { f["data.tar.zst"].Data = nil },
		"missing":    func(_ *testing.T, f fstest.MapFS) { delete(f, "data.tar.zst") },
		"incomplete": func(t *testing.T, f fstest.MapFS) { f["data.tar.zst"].Data = archiveOf(t, nil) },
		"other content": func(t *testing.T, f fstest.MapFS) {
			raw := f[manifestName].Data
			sum := regular("rootfs/usr/share/text", 0o644, 10).SHA256
			f[manifestName].Data = bytes.ReplaceAll(raw, []byte(sum), []byte(strings.Repeat("0", 64)))
		},
		"parent path":    evil(tar.Header{Typeflag: tar.TypeReg, Name: "../x", Size: 1}),
		"absolute path":  evil(tar.Header{Typeflag: tar.TypeReg, Name: "/tmp/x", Size: 1}),
		"unlisted file":  evil(tar.Header{Typeflag: tar.TypeReg, Name: "rootfs/usr/bin/sudo", Size: 1}),
		"symlink escape": evil(tar.Header{Typeflag: tar.TypeSymlink, Name: "rootfs/usr/lib", Linkname: "/etc"}),
		"device":         evil(tar.Header{Typeflag: tar.TypeChar, Name: "rootfs/null"}),
		"file twice":     evil(tar.Header{Typeflag: tar.TypeReg, Name: "rootfs/usr/share/text", Size: 10}),
	} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := fakeFS(t, fakeFiles()), t.TempDir()
			damage(t, fsys)
			_, err := open(t, fsys).Extract(t.Context(), dir, nil)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Errorf("got %v", err)
			}
			wantOnlyLock(t, dir)
		})
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	tree, err := fake(t).Extract(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := fakeFS(t, map[string][]File{"only": {regular("rootfs/x", 0o755, 5)}})
	newer, err := open(t, other).Extract(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := Prune(t.Context(), dir, func(d string) bool { return d == newer.Digest })
	if err != nil || len(removed) != 1 || removed[0] != tree.Digest {
		t.Errorf("removed %v, %v", removed, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := Prune(t.Context(), filepath.Join(dir, "none"), nil); err != nil {
		t.Errorf("without a directory: %v", err)
	}
}
