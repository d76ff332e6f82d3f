package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// warmRounds is how often each of the two serves what it has; each is first in its turn.
const warmRounds = 2

// mirrorPulls has many engines pull one image at once by way of berth's mirror and of
// distribution as a proxy: with nothing cached, and then, new engines each time, with all of it.
func (b *bench) mirrorPulls(ctx context.Context, up *source, dir string) error {
	m, err := b.serveMirror(ctx, up, filepath.Join(dir, "cache")) // on the socket that engines look for
	if err != nil {
		return err
	}
	defer m.close()
	peer := filepath.Join(dir, "distribution")
	port, end, err := proxyOf(ctx, up.server.URL, peer)
	if err != nil {
		return err
	}
	defer os.RemoveAll(peer)
	defer end()
	by := [2]string{"local", fmt.Sprintf("http://host.berth.internal:%d", port)}
	var cold, warm [2][]float64
	pull := func(which int, took *[2][]float64) error {
		d, err := b.pulls(ctx, up.name+"/"+sourceImage, "--mirror", by[which])
		took[which] = append(took[which], ms(d))
		return err
	}
	up.limit(upstreamRate)
	up.forget()
	if err := pull(0, &cold); err != nil {
		return err
	}
	asked := float64(up.most())
	if err := pull(1, &cold); err != nil { // two minutes
		return fmt.Errorf("distribution as a proxy: %w", err)
	}
	var ratio []float64
	for i := range warmRounds {
		for _, which := range []int{i % 2, 1 - i%2} {
			if err := pull(which, &warm); err != nil {
				return err
			}
		}
		ratio = append(ratio, warm[1][i]/warm[0][i])
	}
	b.add(summarize("16 engines, 300 MB, registry at 50 MB/s: mirror, cold", "ms", cold[0]))
	b.add(summarize("the same, distribution as a proxy", "ms", cold[1]))
	b.add(summarize("distribution / mirror, cold", "x", []float64{cold[1][0] / cold[0][0]}).atLeast(3))
	b.add(summarize("requests to the registry for a blob, at most", "", []float64{asked}).atMost(1))
	b.add(summarize("16 engines, 300 MB: mirror, warm", "ms", warm[0]))
	b.add(summarize("the same, distribution as a proxy, warm", "ms", warm[1]))
	b.add(summarize("distribution / mirror, warm, pair by pair", "x", ratio).atLeast(1))
	return nil
}

// pulls starts engines with flags, and has all of them pull ref at once.
func (b *bench) pulls(ctx context.Context, ref string, flags ...string) (time.Duration, error) {
	sessions := make([]*session, manyEngines)
	var starts errgroup.Group
	for i := range sessions {
		starts.Go(func() (err error) { sessions[i], err = b.openWith(ctx, flags, ""); return err })
	}
	err := starts.Wait()
	defer func() {
		for _, s := range sessions {
			if s != nil {
				_, _ = s.close()
			}
		}
	}()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sessions {
		group.Go(func() error { _, err := b.output(ctx, "docker", "--engine", s.id, "pull", "-q", ref); return err })
	}
	err = group.Wait()
	return time.Since(begin), err
}
