package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/snapshot/layers/copied"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// Sizes of what snapshots hold, in bytes of images.
const (
	largeBytes = 5 << 30
	smallBytes = largeBytes / 10
)

// snapshots measures forks of snapshots with many images, against an engine that has none
// and against the ways in which an engine comes by the same images otherwise.
func (b *bench) snapshots(ctx context.Context) error {
	defer b.clean(context.WithoutCancel(ctx))
	begin := time.Now()
	var live time.Duration
	var pause float64
	took, create, err := b.snapshotOf(ctx, "bench-large", largeBytes, func() (err error) {
		live, pause, err = b.liveSnapshot(ctx)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "  5 GB in a snapshot after %.0f s\n", time.Since(begin).Seconds())
	if _, _, err := b.snapshotOf(ctx, "bench-small", smallBytes, func() error { return nil }); err != nil {
		return err
	}
	forks, err := b.forkStarts(ctx)
	if err != nil {
		return err
	}
	b.add(summarize("docker load of 20 images, 5 GB", "ms", []float64{ms(took)}))
	b.add(summarize("snapshot create --from ENGINE, 5 GB", "ms", []float64{ms(create)}).atMost(2000))
	running := summarize("snapshot create --from ENGINE that runs, 5 GB", "ms", []float64{ms(live)})
	if (copied.Driver{Reflink: true}).Try(ctx, stateDir(), nil, ids.Range{}) == nil { // else its layers are copied
		running = running.atMost(2000)
	}
	b.add(running)
	b.add(summarize("for which the engine stood still", "ms", []float64{pause}))
	pull, err := b.pullLarge(ctx)
	if err != nil {
		return err
	}
	b.add(summarize("pull of the same from a loopback registry", "ms", []float64{ms(pull)}))
	b.add(summarize("docker load / fork", "x", []float64{ms(took) / forks}))
	b.add(summarize("pull / fork", "x", []float64{ms(pull) / forks}))
	return b.fiftyForks(ctx)
}

func (b *bench) clean(ctx context.Context) {
	args := []string{"rm", "-f", "bench-source"}
	for i := range manyForks {
		args = append(args, forkName(i))
	}
	for _, args := range [][]string{args, {"snapshot", "rm", "-f", "bench-large", "bench-small", "bench-live"}, {"gc"}} {
		_, _ = b.output(ctx, args...)
	}
}

// snapshotOf loads images into an engine and makes a snapshot of that when it is stopped. It
// returns how long the one and the other took. running is called before the stop.
func (b *bench) snapshotOf(ctx context.Context, name string, size int64, running func() error) (load, create time.Duration, err error) {
	images, err := large(size)
	if err != nil {
		return 0, 0, err
	}
	archive, err := b.archive("large.tar", images)
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(archive)
	if _, err := b.output(ctx, "up", "bench-source"); err != nil {
		return 0, 0, err
	}
	if load, err = b.timed(ctx, "docker", "--engine", "bench-source", "load", "-q", "-i", archive); err != nil {
		return 0, 0, err
	}
	if err := running(); err != nil {
		return 0, 0, err
	}
	if _, err := b.output(ctx, "stop", "bench-source"); err != nil {
		return 0, 0, err
	}
	if create, err = b.timed(ctx, "snapshot", "create", name, "--from", "bench-source"); err != nil {
		return 0, 0, err
	}
	_, err = b.output(ctx, "rm", "bench-source")
	return load, create, err
}

// liveSnapshot makes a snapshot of the running engine and removes it. It returns how long that
// took and how long, in ms, the engine stood still.
func (b *bench) liveSnapshot(ctx context.Context) (took time.Duration, pause float64, err error) {
	cmd := exec.CommandContext(ctx, b.program, "snapshot", "create", "bench-live", "--from", "bench-source")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "BERTH_TRACE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("snapshot of a running engine: %w: %s", err, stderr.Bytes())
	}
	took = time.Since(begin)
	for line := range bytes.Lines(stderr.Bytes()) {
		var step traced
		if json.Unmarshal(line, &step) == nil && step.Step == "pause" {
			pause += step.MS
		}
	}
	if pause == 0 {
		return 0, 0, fmt.Errorf("BERTH_TRACE=1 printed no pause: %s", stderr.Bytes())
	}
	if _, err = b.output(ctx, "snapshot", "rm", "bench-live"); err == nil {
		_, err = b.output(ctx, "gc")
	}
	return took, pause, err
}

func (b *bench) timed(ctx context.Context, args ...string) (time.Duration, error) {
	begin := time.Now()
	_, err := b.output(ctx, args...)
	return time.Since(begin), err
}

// forkStarts compares starts, in turn; it returns the median of a large fork's, in ms.
func (b *bench) forkStarts(ctx context.Context) (float64, error) {
	starts := map[string][]float64{}
	var disk, more, container []float64
	kinds := []string{"", "bench-large", "bench-small"}
	for range b.runs {
		for _, from := range kinds {
			var flags []string
			if from != "" {
				flags = []string{"--from", from}
			}
			s, err := b.openWith(ctx, flags, "")
			if err != nil {
				return 0, err
			}
			starts[from] = append(starts[from], ms(s.ready))
			if from == "bench-large" {
				disk = append(disk, float64(ownBytes(filepath.Join(stateDir(), "engines", s.id, "data")))/(1<<20))
			}
			if _, err := s.close(); err != nil {
				return 0, err
			}
		}
		last := len(starts[""]) - 1
		more = append(more, starts["bench-large"][last]-starts[""][last])
		// The clock stops when the container has ended, before the engine does.
		begin := time.Now()
		out, err := b.output(ctx, "run", "--from", "bench-large", "--", "sh", "-ec", "docker run --rm "+largeName(0)+" true; date +%s%N")
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &ns); err != nil {
			return 0, err
		}
		container = append(container, ms(time.Unix(0, ns).Sub(begin)))
	}
	plain, big, small := summarize("start of a plain engine", "ms", starts[""]), summarize("start of a fork, 20 images, 5 GB", "ms", starts["bench-large"]), summarize("start of a fork, 20 images, 0.5 GB", "ms", starts["bench-small"])
	b.add(plain)
	b.add(big)
	b.add(summarize("fork of 5 GB minus plain start, pair by pair", "ms", more).atMost(100))
	b.add(small)
	b.add(summarize("fork of 5 GB / fork of 0.5 GB, medians", "x", []float64{big.Median / small.Median}).atMost(1.2))
	b.add(summarize("new disk of a fork of 5 GB", "MiB", disk).atMost(2))
	b.add(summarize("request to the end of a first container in a fork", "ms", container).atMost(600))
	return big.Median, nil
}

func stateDir() string { return or(os.Getenv("BERTH_STATE_DIR"), "/var/lib/berth") }

// ownBytes is what a tree takes on disk, without files that have names elsewhere.
func ownBytes(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if info, err := e.Info(); err == nil {
			if st := info.Sys().(*syscall.Stat_t); e.IsDir() || st.Nlink == 1 {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}

// pullLarge pulls the images from a registry on this machine into an empty engine.
func (b *bench) pullLarge(ctx context.Context) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.work, "registry-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	blobs := ggcr.NewDiskBlobHandler(dir)
	reg, err := registry.Start(ctx, registry.Options{Dir: b.work, Handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithBlobHandler(blobs))})
	if err != nil {
		return 0, err
	}
	defer reg.Close()
	images, err := large(largeBytes)
	if err != nil {
		return 0, err
	}
	script := ""
	for tag, img := range images {
		ref := reg.Address() + "/" + tag.RepositoryStr() + ":1"
		if err := image.Push(ref, img, reg.Transport(), nil); err != nil {
			return 0, err
		}
		script += "docker pull -q " + ref + " >/dev/null & "
	}
	begin := time.Now()
	out, err := b.output(ctx, "run", "--registry-ca", reg.Address()+"="+reg.CAFile, "--add-host", reg.Host+":host-gateway", "--mirror", "off",
		"--", "sh", "-ec", script+"wait; docker images -q | wc -l; date +%s%N")
	if err != nil {
		return 0, err
	}
	var n int
	var ns int64
	if _, err := fmt.Sscan(string(out), &n, &ns); err != nil || n != manyImages {
		return 0, fmt.Errorf("%d of %d images were pulled: %w", n, manyImages, err)
	}
	return time.Unix(0, ns).Sub(begin), nil
}
