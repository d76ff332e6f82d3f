// Command kube builds the programs of the test cluster: Kubernetes, containerd and
// CoreDNS from the Go modules pinned below test/kube/pins, etcd and the CNI plug-ins from
// Debian packages, which are unpacked and not installed. runc is the payload's.
//
//	go run ./hack/kube        build what is out of date
//
// The programs end up in .cache/kube/bin. A part is made again only when its inputs change;
// their hash lies beside it. Run it in the repository's root directory, after `make payload`.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-dev/berth/hack/task"
)

const (
	cacheDir = ".cache/kube"
	pinsDir  = "test/kube/pins"
	progress = task.Progress("kube") // says what takes its time
)

// part is what is built at once: its programs, or other files, go to .cache/kube/bin.
type part struct {
	name     string
	programs []string
	// inputs writes everything that the programs depend on, in a stable order.
	inputs func(ctx context.Context, w io.Writer) error
	build  func(ctx context.Context, bin string) error
}

func main() { task.Main("kube", run) }

// run brings every part up to date. The compiler uses all cores by itself, so Go programs
// are built one after another; packages are downloaded beside that.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: want none", args[0])
	}
	if _, err := os.Stat(pinsDir); err != nil {
		return errors.New("run this in the repository's root directory")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return debian.update(ctx) })
	group.Go(func() error {
		for _, p := range slices.Concat(goParts(), []*part{runc}, definitions) {
			if err := p.update(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// update builds the part unless its inputs are those of the last time.
func (p *part) update(ctx context.Context) error {
	hash := sha256.New()
	if err := p.inputs(ctx, hash); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	key, name := hex.EncodeToString(hash.Sum(nil)), filepath.Join(cacheDir, p.name+".key")
	bin, err := filepath.Abs(filepath.Join(cacheDir, "bin"))
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(name); err == nil && string(old) == key && p.there(bin) {
		return nil
	}
	if err := errors.Join(os.MkdirAll(bin, 0o755), remove(name)); err != nil {
		return err
	}
	start := time.Now()
	if err := progress.During(p.name, "building", func() error { return p.build(ctx, bin) }); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	progress.Say("%-12s built in %s", p.name, time.Since(start).Round(time.Second))
	return os.WriteFile(name, []byte(key), 0o644)
}

func (p *part) there(bin string) bool {
	for _, program := range p.programs {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return false
		}
	}
	return true
}

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
