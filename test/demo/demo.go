package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/registry"
)

// script is what runs beside the engine. It prints a line for each step:
// "step", what it was and how many milliseconds it took, parted by tabs.
//
//go:embed steps.sh
var script string

// archive is the file that the demo leaves on purpose.
const archive = "berth-demo.tar"

// show prints a row of the table.
func show(w io.Writer, what string, took time.Duration, note string) {
	fmt.Fprintf(w, "  %-46s %7.0f ms  %s\n", what, float64(took.Microseconds())/1000, note)
}

func run(ctx context.Context, w io.Writer, program, dir string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	// Unpacks the upstream programs, of which the image below is made too, and makes berth's
	// directories: both stay, as with any first use.
	for _, args := range [][]string{{"run", "--", "true"}, {"gc"}} {
		if err := sh(ctx, program, args...); err != nil {
			return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
		}
	}
	scope := leak.Host(either(os.Getenv("BERTH_RUN_DIR"), "/run/berth"), either(os.Getenv("BERTH_STATE_DIR"), "/var/lib/berth"))
	before, err := leak.Take(scope)
	if err != nil {
		return err
	}
	start := time.Now()
	reg, err := seed(ctx, w)
	if err != nil {
		return err
	}
	defer reg.stop()
	if err := engine(ctx, w, program, dir, reg); err != nil {
		return err
	}
	if err := checkArchive(w, filepath.Join(dir, archive)); err != nil {
		return err
	}
	if err := traces(ctx, w, before, scope); err != nil {
		return err
	}
	fmt.Fprintln(w)
	show(w, "everything", time.Since(start), "")
	return nil
}

// source is a running registry with an image in it.
type source struct {
	*registry.Registry
	ref  string // the image's name
	stop func()
}

func seed(ctx context.Context, w io.Writer) (*source, error) {
	fmt.Fprintln(w, "A private registry, signed by an authority that nobody else trusts:")
	start := time.Now()
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		return nil, err
	}
	reg, err := registry.Start(ctx, registry.Options{Dir: dir})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	out := &source{Registry: reg, ref: reg.Address() + "/berth/demo:1", stop: func() { reg.Close(); os.RemoveAll(dir) }}
	show(w, "start "+reg.URL(), time.Since(start), "")
	start = time.Now()
	img, err := image.Build(image.Options{Ballast: 8 << 20})
	if err == nil {
		err = image.Push(out.ref, img, reg.Transport(), nil)
	}
	if err != nil {
		out.stop()
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		out.stop()
		return nil, err
	}
	show(w, "make and push an image", time.Since(start), fmt.Sprintf("%d layers, %.1f MB", len(layers), megabytes(layers)))
	return out, nil
}

func megabytes(layers []v1.Layer) (sum float64) {
	for _, layer := range layers {
		if size, err := layer.Size(); err == nil {
			sum += float64(size) / 1e6
		}
	}
	return sum
}

// engine runs the script with an engine of its own, and prints its steps as they
// come.
func engine(ctx context.Context, w io.Writer, program, dir string, reg *source) error {
	fmt.Fprintf(w, "\nberth run --registry-ca %s=ca.crt --add-host %s:host-gateway -- sh:\n", reg.Address(), reg.Host)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "run",
		"--registry-ca", reg.Address()+"="+reg.CAFile, "--add-host", reg.Host+":host-gateway",
		"--", "sh", "-c", script, "sh", reg.ref, archive)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // berth cleans up, then goes
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w; build it with `make build`", program, err)
	}
	first, last := true, time.Now()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if first {
			show(w, "engine ready, command started", time.Since(start), "")
			first = false
		}
		last = time.Now()
		if len(fields) == 4 && fields[0] == "step" {
			ms, _ := strconv.Atoi(fields[2])
			show(w, fields[1], time.Duration(ms)*time.Millisecond, fields[3])
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the engine's command failed: %w\n%s", err, stderr.String())
	}
	show(w, "from the command's end to berth's", time.Since(last), "")
	return nil
}

// checkArchive opens what the engine saved and looks whose it is.
func checkArchive(w io.Writer, path string) error {
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return fmt.Errorf("the saved archive: %w", err)
	}
	if err := validate.Image(img); err != nil {
		return fmt.Errorf("the saved archive: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	want, err := strconv.Atoi(either(os.Getenv("SUDO_UID"), strconv.Itoa(os.Getuid())))
	if err != nil {
		return fmt.Errorf("SUDO_UID: %w", err)
	}
	if owner != want {
		return fmt.Errorf("%s belongs to user %d, not to %d who asked for it", path, owner, want)
	}
	fmt.Fprintf(w, "\nSaved: %s, %d layers, %.1f MB, belongs to user %d\n", path, len(layers), float64(info.Size())/1e6, owner)
	return nil
}

// traces shows that the host is as it was.
func traces(ctx context.Context, w io.Writer, before leak.Snapshot, scope leak.Scope) error {
	left, err := leak.Settle(ctx, before, scope)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the host is not as it was:\n  %s", strings.Join(left, "\n  "))
	}
	fmt.Fprintln(w, "Traces on the host: none (processes, mounts, cgroups, interfaces, routes, nft rules, settings, files)")
	return nil
}

func sh(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
