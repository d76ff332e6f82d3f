package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// mirrorPulls has many engines pull one image at once by way of berth's mirror and of
// distribution as a proxy: with nothing cached, and, other engines, with all of it.
func (b *bench) mirrorPulls(ctx context.Context, up *source, dir string) error {
	var cold, peerCold, coldRatio, warm, peerWarm, warmRatio, asked []float64
	for i := range max(1, b.runs/5) { // distribution alone takes two minutes each time
		up.limit(upstreamRate)
		one, most, err := b.pullMirror(ctx, up, filepath.Join(dir, fmt.Sprint("m", i)))
		if err != nil {
			return err
		}
		two, err := b.pullDistribution(ctx, up, filepath.Join(dir, fmt.Sprint("d", i)))
		if err != nil {
			return fmt.Errorf("distribution as a proxy: %w", err)
		}
		cold, warm, asked = append(cold, ms(one[0])), append(warm, ms(one[1])), append(asked, float64(most))
		peerCold, peerWarm = append(peerCold, ms(two[0])), append(peerWarm, ms(two[1]))
		coldRatio, warmRatio = append(coldRatio, ms(two[0])/ms(one[0])), append(warmRatio, ms(two[1])/ms(one[1]))
	}
	b.add(summarize("16 engines, 300 MB, registry at 50 MB/s: mirror, cold", "ms", cold))
	b.add(summarize("the same, distribution as a proxy", "ms", peerCold))
	b.add(summarize("distribution / mirror, cold", "x", coldRatio).atLeast(3))
	b.add(summarize("requests to the registry for a blob, at most", "", asked).atMost(1))
	b.add(summarize("16 engines, 300 MB: mirror, warm", "ms", warm))
	b.add(summarize("the same, distribution as a proxy, warm", "ms", peerWarm))
	b.add(summarize("distribution / mirror, warm", "x", warmRatio).atLeast(1))
	return nil
}

// pullMirror returns how long the pulls took, cold and warm, and how often the registry was
// asked for the blob that it was asked for most.
func (b *bench) pullMirror(ctx context.Context, up *source, dir string) (took [2]time.Duration, most int, err error) {
	m, err := b.serveMirror(ctx, up, dir) // on the socket that engines look for
	if err != nil {
		return took, 0, err
	}
	defer m.close()
	up.forget()
	for i := range took {
		if took[i], err = b.pulls(ctx, up.name+"/"+sourceImage, "--mirror", "local"); err != nil {
			return took, 0, err
		}
	}
	return took, up.most(), nil
}

func (b *bench) pullDistribution(ctx context.Context, up *source, dir string) (took [2]time.Duration, err error) {
	port, end, err := proxyOf(ctx, up.server.URL, dir)
	if err != nil {
		return took, err
	}
	defer os.RemoveAll(dir)
	defer end()
	for i := range took {
		mirror := fmt.Sprintf("http://host.berth.internal:%d", port)
		if took[i], err = b.pulls(ctx, up.name+"/"+sourceImage, "--mirror", mirror); err != nil {
			return took, err
		}
	}
	return took, nil
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
