// Command bench measures what berth promises to be: how fast an engine starts
// and goes, what it weighs, and how that compares with plain upstream dockerd
// and containerd of the same payload, in the same minutes on the same machine.
//
// Runs that are compared take turns (A B A B), so that a busy machine slows both.
// Figures are medians, with the spread and the number of runs. Times are
// milliseconds, sizes are megabytes of 1,000,000 bytes, memory is mebibytes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/berth-dev/berth/test/sandbox"
)

func main() {
	var b bench
	flag.StringVar(&b.program, "berth", or(os.Getenv("BERTH"), "../bin/berth"), "the berth program (also $BERTH)")
	flag.IntVar(&b.runs, "n", 10, "runs of each short measurement")
	flag.BoolVar(&b.quick, "quick", false, "leave out what takes long: docker:dind, 2 GB of data, fifty engines")
	only := flag.String("only", "", "one section alone: start, dind, image, teardown, run, many, memory, work, size, list, snapshot, kube, sdk, mirror")
	programs := flag.String("cluster", "", "measure in a cluster of the programs in this `directory`; what the section kube calls this program with")
	asJSON := flag.Bool("json", false, "print one JSON object a figure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *programs != "" {
		os.Exit(sandbox.Run(func() int {
			err := b.inCluster(ctx, *programs)
			report(os.Stdout, b.figures, true)
			return status(err)
		}))
	}
	err := b.all(ctx, *only)
	report(os.Stdout, b.figures, *asJSON)
	os.Exit(status(err))
}

// status is the exit status after err, which is reported.
func status(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// bench is a series of measurements.
type bench struct {
	program string // path of berth
	payload string // the extracted payload's directory
	work    string // scratch directory
	image   string // archive for `docker load`
	runs    int
	quick   bool
	figures []figure
}

func (b *bench) all(ctx context.Context, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("engines need root: run this with sudo")
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	var errs []error
	for _, section := range []struct {
		name, says string
		long       bool
		measure    func(context.Context) error
	}{
		{"start", "start until ready, against plain dockerd", false, b.starts},
		{"dind", "the docker:dind entry point", true, b.dind},
		{"image", "the container image, against docker:dind's entry point in one", true, b.containerImage},
		{"teardown", "from the end of the command to berth's end", false, b.teardowns},
		{"run", "docker run --rm", false, b.containers},
		{"many", "eight engines at once, and their memory", false, b.eight},
		{"memory", "memory of one idle engine", false, b.idle},
		{"work", "berth's own work before the runtime", false, b.ownWork},
		{"size", "size of the program", false, b.size},
		{"list", "berth ls with fifty engines", true, b.list},
		{"snapshot", "forks of 5 GB of images, against loading and pulling them", true, b.snapshots},
		{"kube", "a pod's engine, in a cluster", true, b.kube},
		{"sdk", "package berth against the command, docker pull and the plain client", false, b.sdk},
		{"mirror", "the mirror, against distribution as a proxy and nginx", true, b.mirror},
	} {
		if only != "" && only != section.name || only == "" && b.quick && section.long {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", section.says)
		if err := section.measure(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", section.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// report prints the figures as a table or as JSON.
func report(w *os.File, figures []figure, asJSON bool) {
	if asJSON {
		out := json.NewEncoder(w)
		for _, f := range figures {
			_ = out.Encode(f)
		}
		return
	}
	fmt.Fprintf(w, "%-52s %9s %9s %9s %4s  %-5s %-10s %s\n", "figure", "min", "median", "max", "n", "unit", "target", "")
	for _, f := range figures {
		digits := 1
		if f.Unit == "x" { // a target may be closer to one than that
			digits = 2
		}
		fmt.Fprintf(w, "%-52s %9.*f %9.*f %9.*f %4d  %-5s %-10s %s\n",
			f.Name, digits, f.Min, digits, f.Median, digits, f.Max, f.N, f.Unit, f.target(), f.verdict())
	}
}

// locate finds the payload that this berth has extracted: the newest.
func locate(state string) (string, error) {
	found, err := filepath.Glob(filepath.Join(state, "payload", "*", "rootfs"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no extracted payload below %s", state)
	}
	newest, when := "", int64(0)
	for _, dir := range found {
		if info, err := os.Stat(dir); err == nil && info.ModTime().UnixNano() >= when {
			newest, when = filepath.Dir(dir), info.ModTime().UnixNano()
		}
	}
	return newest, nil
}
