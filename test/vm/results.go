package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-dev/berth/test/vm/job"
)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// results takes a guest's report apart: events to a file, failures to people.
type results struct {
	ctx  context.Context
	s    settings
	all  *os.File // events of all packages
	raw  *os.File // what came, as it came
	conv *converter
	tally
	boot  *job.Boot
	begin time.Time
	done  bool
	guest []string // the guest's own errors
}

// partial is added to the name of a file that is being written.
const partial = ".partial"

func newResults(ctx context.Context, s settings) (*results, error) {
	path := s.resultsFile(s.name())
	if s.Shell != "" {
		path = filepath.Join(s.logs(), "events.json") // no tests, no place in the table
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	all, err := os.Create(path + partial)
	if err != nil {
		return nil, err
	}
	raw, err := os.Create(filepath.Join(s.logs(), "report.log"))
	if err != nil {
		all.Close()
		return nil, err
	}
	return &results{ctx: ctx, s: s, all: all, raw: raw, begin: time.Now(), tally: newTally()}, nil
}

// read follows the report to its end.
func (r *results) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if _, werr := r.raw.WriteString(line); werr != nil {
				return werr
			}
			if herr := r.handle(line); herr != nil {
				return herr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) handle(line string) error {
	text, ok := strings.CutPrefix(line, job.Mark)
	if !ok {
		if r.s.Shell != "" {
			fmt.Print(line)
		}
		if r.conv != nil {
			return r.conv.write(line)
		}
		return nil
	}
	var e job.Event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return fmt.Errorf("the guest's report: %w in %q", err, text)
	}
	switch {
	case e.Boot != nil:
		r.boot = e.Boot
		say("%s: up after %.1f s (%.1f s by its own clock): Linux %s, cgroups %s, /var on %s",
			r.s.name(), time.Since(r.begin).Seconds(), e.Boot.Uptime, e.Boot.Kernel, e.Boot.Cgroup, e.Boot.Data)
	case e.Package != "":
		var err error
		r.conv, err = newConverter(context.WithoutCancel(r.ctx), e.Package, r.take) // ends with its input
		return err
	case e.Ended != nil:
		err := r.conv.close()
		r.conv = nil
		if e.Ended.Status != 0 && !r.packageFailed(e.Ended.Package) { // it crashed, or its TestMain refused
			what := event{Time: time.Now(), Action: "output", Package: e.Ended.Package, Output: fmt.Sprintf("ended with status %d\n", e.Ended.Status)}
			err = errors.Join(err, r.take(what))
			what.Action, what.Output = "fail", ""
			err = errors.Join(err, r.take(what))
		}
		return err
	case e.Error != "":
		r.guest = append(r.guest, e.Error)
	case e.Done:
		r.done = true
	}
	return nil
}

// take notes an event and shows the progress.
func (r *results) take(e event) error {
	if e.Action == "output" && strings.HasPrefix(e.Output, "FAIL") && e.Test == "" {
		return nil
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := r.all.Write(append(text, '\n')); err != nil {
		return err
	}
	if r.add(e) && !strings.Contains(e.Test, "/") {
		fmt.Fprintf(os.Stderr, "%-4s %7.2fs  %s %s\n", e.Action, e.Elapsed, strings.TrimPrefix(e.Package, module+"/"), e.Test)
	}
	return nil
}

func (r *results) close() error {
	var err error
	if r.conv != nil { // the guest ended in the midst of a package
		err = r.conv.close()
		r.conv = nil
	}
	path := strings.TrimSuffix(r.all.Name(), partial)
	if len(r.result) == 0 { // nothing to know of
		return errors.Join(err, r.all.Close(), r.raw.Close(), os.Remove(path+partial))
	}
	if r.s.Run != core {
		err = errors.Join(err, r.keepOlder(path))
	}
	return errors.Join(err, r.all.Close(), r.raw.Close(), os.Rename(path+partial, path))
}

func (r *results) failed() bool { return len(r.tally.failures()) > 0 || len(r.guest) > 0 }

// summary prints what people want to know, and keeps the output of what failed.
func (r *results) summary(w io.Writer) {
	failures := r.failures()
	var log strings.Builder
	for _, name := range failures {
		fmt.Fprintf(&log, "\n--- %s\n%s", name, r.output[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		fmt.Fprintf(&log, "\n--- %s: was running at the end\n%s", name, r.output[name])
	}
	for _, problem := range r.guest {
		fmt.Fprintf(&log, "\nguest: %s\n", problem)
	}
	io.WriteString(w, log.String())
	_ = os.WriteFile(filepath.Join(r.s.logs(), "failures.log"), []byte(log.String()), 0o644)
	fmt.Fprintf(w, "\n%s: %d passed, %d failed, %d skipped in %.0f s\n", r.s.name(), r.count["pass"], len(failures), r.count["skip"], time.Since(r.begin).Seconds())
}
