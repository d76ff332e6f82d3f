// Command payload builds what the berth program carries: it compiles the upstream
// programs pinned below payload/, takes the others from Debian packages, and writes
// one compressed archive a component with a manifest to internal/payload/files.
//
//	go run ./hack/payload            build what is out of date
//	go run ./hack/payload sbom       list what is in the archives, as CycloneDX
//
// A component is made again only when its inputs change; their hash lies beside the
// last result in .cache/payload. Run it in the repository's root directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-dev/berth/hack/task"
)

const (
	filesDir = "internal/payload/files"
	cacheDir = ".cache/payload"
)

func main() { task.Main("payload", run) }

func run(ctx context.Context, args []string) error {
	if _, err := os.Stat(filesDir); err != nil {
		return errors.New("run this in the repository's root directory")
	}
	if len(args) > 0 && args[0] == "sbom" {
		flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
		out := flags.String("o", "bin/berth.cdx.json", "`file` to write")
		berth := flags.String("berth", "bin/berth", "the berth `program`, whose own modules are listed as well")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return writeSBOM(ctx, *berth, *out)
	}
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: want sbom or nothing", args[0])
	}
	return buildAll(ctx)
}

// buildAll brings every component up to date and writes the manifest. The compiler
// uses all cores by itself, so Go programs are built one after another; packing one
// and downloading packages go on beside it.
func buildAll(ctx context.Context) error {
	start := time.Now()
	var (
		goComponents = goComponents()
		results      = make([]*result, len(goComponents)+1)
		packing      errgroup.Group
		group, gctx  = errgroup.WithContext(ctx)
	)
	packing.SetLimit(1)
	group.Go(func() error {
		for i, c := range goComponents {
			r, err := c.update(gctx, &packing)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			results[i] = r
		}
		return nil
	})
	group.Go(func() (err error) {
		c := debianComponent()
		if results[len(goComponents)], err = c.update(gctx, &packing); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		return nil
	})
	if err := errors.Join(group.Wait(), packing.Wait()); err != nil {
		return err
	}
	m, err := publish(results, filesDir)
	if err != nil {
		return err
	}
	if err := checkLibraries(m, results); err != nil {
		return err
	}
	var packed, unpacked int64
	for _, c := range m.Components {
		packed += c.Size
		for _, f := range c.Files {
			unpacked += f.Size
		}
	}
	progress.Say("%d components, %s packed, %s unpacked, %s", len(m.Components), megabytes(packed), megabytes(unpacked), elapsed(start))
	return nil
}

// workDir returns a component's directory in the cache.
func workDir(name string) string { return filepath.Join(cacheDir, name) }
