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
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	cacheDir = ".cache/kube"
	pinsDir  = "test/kube/pins"
)

// part is what is built at once: its programs, or other files, go to .cache/kube/bin.
type part struct {
	name     string
	programs []string
	// inputs writes everything that the programs depend on, in a stable order.
	inputs func(ctx context.Context, w io.Writer) error
	build  func(ctx context.Context, bin string) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}

// run brings every part up to date. The compiler uses all cores by itself, so Go programs
// are built one after another; packages are downloaded beside that.
func run(ctx context.Context) error {
	if len(os.Args) > 1 {
		return fmt.Errorf("unknown argument %q: want none", os.Args[1])
	}
	if _, err := os.Stat(pinsDir); err != nil {
		return errors.New("run this in the repository's root directory")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return debian.update(ctx) })
	group.Go(func() error {
		for _, p := range append(goParts(), runc, tekton) {
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
	if err := during(p.name, func() error { return p.build(ctx, bin) }); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
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

// stillEvery is how often a long step says that it is still at work.
const stillEvery = 15 * time.Second

// during says what is built, then every stillEvery how long it has taken, and at the end
// how long it took.
func during(name string, do func() error) error {
	start := time.Now()
	say := func(format string) {
		fmt.Fprintf(os.Stderr, "kube: %-10s "+format+"\n", name, time.Since(start).Round(time.Second))
	}
	fmt.Fprintf(os.Stderr, "kube: %-10s building\n", name)
	ticker := time.NewTicker(stillEvery)
	defer ticker.Stop()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			if err == nil {
				say("built in %s")
			}
			return err
		case <-ticker.C:
			say("building, %s")
		}
	}
}
