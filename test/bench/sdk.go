package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"

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

// serve starts a registry with an image of the size pulled. It is not distribution's, whose
// storage in memory copies all of a blob that it has at every write.
func (b *bench) serve(ctx context.Context) (*registry.Registry, string, error) {
	dir := filepath.Join(b.work, "registry")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, "", err
	}
	r, err := registry.Start(ctx, registry.Options{Dir: dir, Handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))})
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

// measured does something and returns how long it took, in ms.
type measured func() (float64, error)

// inTurn measures two things n times each, or once more to make n even: each goes first as
// often as the other, so that neither always finds what the other has left behind.
func inTurn(n int, one, two measured) (ones, twos []float64, err error) {
	for i := range n + n%2 {
		var took [2]float64
		for _, which := range []int{i % 2, 1 - i%2} {
			if took[which], err = [2]measured{one, two}[which](); err != nil {
				return nil, nil, err
			}
		}
		ones, twos = append(ones, took[0]), append(twos, took[1])
	}
	return ones, twos, nil
}

// pairs are the results of f for each two that belong together.
func pairs(ones, twos []float64, f func(one, two float64) float64) []float64 {
	out := make([]float64, len(ones))
	for i := range ones {
		out[i] = f(ones[i], twos[i])
	}
	return out
}

func minus(a, b float64) float64 { return a - b }
func ratio(a, b float64) float64 { return a / b }

// timed measures f.
func timed(f func() error) (float64, error) {
	begin := time.Now()
	err := f()
	return ms(time.Since(begin)), err
}

// sdkStart compares berth.Start with `berth run` until its command runs.
func (b *bench) sdkStart(ctx context.Context) error {
	sdk, cli, err := inTurn(2*b.runs, func() (float64, error) {
		begin := time.Now()
		e, err := berth.Start(ctx, berth.WithBinary(b.program))
		if err != nil {
			return 0, err
		}
		took := ms(time.Since(begin))
		return took, e.Close(ctx)
	}, func() (float64, error) {
		s, err := b.open(ctx, "")
		if err != nil {
			return 0, err
		}
		_, err = s.close()
		return ms(s.ready), err
	})
	if err != nil {
		return err
	}
	b.add(summarize("berth.Start", "ms", sdk))
	b.add(summarize("berth run, in turn with it", "ms", cli))
	b.add(summarize("berth.Start - berth run, pair by pair", "ms", pairs(sdk, cli, minus)).atMost(10))
	return nil
}

// sdkPull compares Pull with docker pull.
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
	// What a pull has written is on disk before the next begins.
	one := func(pull func() error) measured {
		return func() (float64, error) {
			took, err := timed(pull)
			if err != nil {
				return 0, err
			}
			err = e.RemoveImage(ctx, ref, true)
			unix.Sync()
			return took, err
		}
	}
	if _, err := one(own)(); err != nil { // all that is read is in memory after that
		return err
	}
	sdk, cli, err := inTurn(b.runs, one(own), one(docker))
	if err != nil {
		return err
	}
	b.add(summarize("Pull of 200 MiB from loopback", "ms", sdk))
	b.add(summarize("docker pull of the same", "ms", cli))
	b.add(summarize("Pull / docker pull, pair by pair", "x", pairs(sdk, cli, ratio)).atMost(1.05))
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
	sdk, plain, err := inTurn(50*b.runs, func() (float64, error) {
		return timed(func() error { _, err := e.Image(ctx, imageName); return err })
	}, func() (float64, error) {
		return timed(func() error { _, err := e.Client().ImageInspect(ctx, imageName); return err })
	})
	if err != nil {
		return err
	}
	b.add(summarize("what the SDK adds to an API call", "ms", pairs(sdk, plain, minus)).atMost(1))
	return nil
}
