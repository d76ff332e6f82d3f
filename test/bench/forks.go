package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const manyForks = 50

func forkName(i int) string { return fmt.Sprintf("bench-fork-%d", i) }

// fiftyForks weighs forks that run at the same time, and has all of them read one file.
func (b *bench) fiftyForks(ctx context.Context) error {
	const atOnce = 4
	slots, errs := make(chan struct{}, atOnce), make(chan error, manyForks)
	for i := range manyForks {
		slots <- struct{}{}
		go func() {
			_, err := b.output(ctx, "up", "--net", "none", "--from", "bench-large", forkName(i))
			errs <- err
			<-slots
		}()
	}
	for range manyForks {
		if err := <-errs; err != nil {
			return err
		}
	}
	var disk []float64
	engines, err := filepath.Glob(filepath.Join(stateDir(), "engines", "*", "data"))
	if err != nil {
		return err
	}
	for _, dir := range engines {
		disk = append(disk, float64(ownBytes(dir))/(1<<20))
	}
	b.add(summarize("disk of each of 50 forks before use", "MiB", disk).atMost(2))
	return b.sharedReads(ctx)
}

// sharedReads measures how much the page cache grows when all forks read one large file.
func (b *bench) sharedReads(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(stateDir(), "snapshots/bench-large/1/layers/*/fs/ballast"))
	if err != nil || len(files) != manyImages {
		return fmt.Errorf("%d large files in the snapshot: %v", len(files), err)
	}
	for _, file := range files {
		if err := forgetPages(file); err != nil {
			return err
		}
	}
	read := func(i int) error {
		_, err := b.output(ctx, "docker", "--engine", forkName(i), "run", "--rm", "--net", "none", largeName(0), "sh", "-c", "cat /ballast >/dev/null")
		return err
	}
	var growth []float64
	before, err := cached()
	if err != nil {
		return err
	}
	for i := range manyForks {
		if err := read(i); err != nil {
			return err
		}
		now, err := cached()
		if err != nil {
			return err
		}
		if i == 0 {
			growth = append(growth, now-before)
		}
		if i == manyForks-1 {
			growth = append(growth, now-before)
		}
	}
	b.add(summarize("page cache after one fork has read a file of 256 MiB", "MiB", growth[:1]))
	b.add(summarize("page cache after all 50 have read it", "MiB", growth[1:]).atMost(2 * 256))
	return nil
}

// forgetPages drops a file from the page cache.
func forgetPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// cached is the size of the page cache in MiB (proc_meminfo(5)).
func cached() (float64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "Cached: %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo names no Cached")
}
