package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/registry"
)

// pulled is the size of the image whose pull is measured, in bytes.
const pulled = 200 << 20

// sdk compares package berth with what it stands for: the command, the docker CLI, and the
// plain client of the Docker API.
func (b *bench) sdk(ctx context.Context) error {
	if err := b.sdkStart(ctx); err != nil {
		return err
	}
	r, ref, err := b.serve(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	ca, err := os.ReadFile(r.CAFile)
	if err != nil {
		return err
	}
	e, err := berth.Start(ctx, berth.WithBinary(b.program), berth.WithMirror("off"),
		berth.WithHost(r.Host, "host-gateway"), berth.WithRegistryCA(r.Address(), ca))
	if err != nil {
		return err
	}
	defer e.Close(context.WithoutCancel(ctx))
	if err := b.sdkPull(ctx, e, ref); err != nil {
		return err
	}
	return b.sdkCall(ctx, e)
}

func (b *bench) serve(ctx context.Context) (*registry.Registry, string, error) {
	dir := filepath.Join(b.work, "registry")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, "", err
	}
	r, err := registry.Start(ctx, registry.Options{Dir: dir})
	if err != nil {
		return nil, "", err
	}
	ref := r.Address() + "/big:1"
	img, err := image.Build(image.Options{Ballast: pulled})
	if err == nil {
		err = image.Push(ref, img, r.Transport(), nil)
	}
	if err != nil {
		r.Close()
	}
	return r, ref, err
}

// sdkStart compares berth.Start with `berth run` until its command runs.
func (b *bench) sdkStart(ctx context.Context) error {
	var sdk, cli, more []float64
	for range b.runs {
		begin := time.Now()
		e, err := berth.Start(ctx, berth.WithBinary(b.program))
		took := time.Since(begin)
		if err != nil {
			return err
		}
		if err := e.Close(ctx); err != nil {
			return err
		}
		s, err := b.open(ctx, "")
		if err != nil {
			return err
		}
		if _, err := s.close(); err != nil {
			return err
		}
		sdk, cli, more = append(sdk, ms(took)), append(cli, ms(s.ready)), append(more, ms(took)-ms(s.ready))
	}
	b.add(summarize("berth.Start", "ms", sdk))
	b.add(summarize("berth run, in turn with it", "ms", cli))
	b.add(summarize("berth.Start - berth run, pair by pair", "ms", more).atMost(10))
	return nil
}

// sdkPull compares Pull with docker pull, each first in its turn.
func (b *bench) sdkPull(ctx context.Context, e *berth.Engine, ref string) error {
	own := func() error { _, err := e.Pull(ctx, ref); return err }
	docker := func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(b.payload, "host/bin/docker"), "pull", "-q", ref)
		cmd.Env = append(os.Environ(), e.Env()...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("docker pull: %w: %s", err, out)
		}
		return nil
	}
	one := func(pull func() error) (float64, error) {
		begin := time.Now()
		if err := pull(); err != nil {
			return 0, err
		}
		took := ms(time.Since(begin))
		return took, e.RemoveImage(ctx, ref, true)
	}
	if _, err := one(own); err != nil { // the registry's files are in memory after that
		return err
	}
	var sdk, cli, ratio []float64
	for i := range b.runs {
		pulls := []func() error{own, docker}
		first, err := one(pulls[i%2])
		if err != nil {
			return err
		}
		second, err := one(pulls[1-i%2])
		if err != nil {
			return err
		}
		took := [2]float64{first, second}
		sdk, cli = append(sdk, took[i%2]), append(cli, took[1-i%2])
		ratio = append(ratio, took[i%2]/took[1-i%2])
	}
	b.add(summarize("Pull of 200 MiB from loopback", "ms", sdk))
	b.add(summarize("docker pull of the same", "ms", cli))
	b.add(summarize("Pull / docker pull, pair by pair", "x", ratio).atMost(1.05))
	return nil
}

// sdkCall compares a method of the SDK with the call of the plain client that it makes.
func (b *bench) sdkCall(ctx context.Context, e *berth.Engine) error {
	f, err := os.Open(b.image)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := e.Load(ctx, f); err != nil {
		return err
	}
	calls := []func() error{
		func() error { _, err := e.Image(ctx, imageName); return err },
		func() error { _, err := e.Client().ImageInspect(ctx, imageName); return err },
	}
	var added []float64
	for i := range 50 * b.runs { // each is first in its turn
		var took [2]float64
		for _, which := range []int{i % 2, 1 - i%2} {
			begin := time.Now()
			if err := calls[which](); err != nil {
				return err
			}
			took[which] = ms(time.Since(begin))
		}
		added = append(added, took[0]-took[1])
	}
	b.add(summarize("what the SDK adds to an API call", "ms", added).atMost(1))
	return nil
}
