package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-dev/berth/test/vm/machine"
)

var errTests = errors.New("tests failed")

// runOne runs the tests in one machine.
func runOne(ctx context.Context, s settings) error {
	begin := time.Now()
	if _, err := s.selected(); err != nil {
		return err
	}
	store := s.store()
	if err := store.InstallMissing(ctx); err != nil {
		return err
	}
	k, err := store.Kernel(ctx, s.Kernel)
	if err != nil {
		return fmt.Errorf("KERNEL=%s: %w", s.Kernel, err)
	}
	rootImage, err := store.Root(ctx, s.root())
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	a, err := store.Accelerator(ctx, s.Accel, k)
	if err != nil {
		return fmt.Errorf("ACCEL=%s: %w", s.Accel, err)
	}
	dir, err := os.MkdirTemp(s.Cache, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := machine.Machine{
		Kernel: k, Accelerator: a, MiB: s.MiB, Root: rootImage, Work: filepath.Join(dir, "work.img"), Data: filepath.Join(dir, "data.img"),
		FS: s.FS, Init: s.Init, Cgroup: s.Cgroup, Console: filepath.Join(s.logs(), "console.log"),
	}
	if !s.IPv6 {
		m.Words = []string{"ipv6.disable=1"}
	}
	if err := makeWork(ctx, s, m.Work, a.Scale); err != nil {
		return fmt.Errorf("work disk: %w", err)
	}
	if err := errors.Join(machine.Sparse(m.Data, 16), os.MkdirAll(s.logs(), 0o755)); err != nil {
		return err
	}
	say("%s: booting with %s after %.0f s of preparation", s.name(), a.Name, time.Since(begin).Seconds())
	return boot(ctx, s, m)
}

// boot runs a machine to its end and judges the results.
func boot(ctx context.Context, s settings, m machine.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	cmd, out, err := m.Start(ctx)
	if err != nil {
		return err
	}
	return judge(ctx, s, cmd, out, m.Console)
}

// judge follows the report of a machine or container to its end.
func judge(ctx context.Context, s settings, cmd *exec.Cmd, out io.Reader, console string) error {
	results, err := newResults(ctx, s)
	if err != nil {
		return err
	}
	readErr := results.read(out)
	waitErr := cmd.Wait()
	closeErr := results.close()
	results.summary(os.Stdout)
	if state := cmd.ProcessState; state != nil {
		say("%s: it took %.0f s of processor time", s.name(), (state.UserTime() + state.SystemTime()).Seconds())
	}
	switch {
	case !results.done:
		return errors.Join(ended(ctx, s, waitErr, console), readErr, closeErr)
	case readErr != nil || closeErr != nil:
		return errors.Join(readErr, closeErr)
	case results.failed():
		return fmt.Errorf("%w in %s; logs: %s", errTests, s.name(), s.logs())
	}
	return nil
}

// ended says why a machine or container that is gone gave no full report.
func ended(ctx context.Context, s settings, err error, console string) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("it ran longer than LIMIT=%v; its console: %s", s.Limit, console)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("it ended before all tests had (%v); its console: %s", err, console)
}

// logs is where a run leaves its report, console and the output of failed tests.
func (s settings) logs() string { return filepath.Join(s.Cache, "logs", s.name()) }

// resultsFile holds the last results of an environment, as `go test -json` prints them.
func (s settings) resultsFile(name string) string {
	return filepath.Join(s.Cache, "results", name+".json")
}

// matrix are the settings of all combinations; RUN, if it says something, goes before their topics.
func matrix(given settings) (all []settings, err error) {
	for _, c := range combinations {
		env := map[string]string{"RUN": given.Run, "SKIP": given.Skip, "ACCEL": given.Accel, "LIMIT": given.Limit.String()}
		if given.Run == core && c.topics != nil {
			env["RUN"] = pattern(c.topics...)
		}
		for word := range strings.FieldsSeq(c.settings) {
			name, value, _ := strings.Cut(word, "=")
			env[name] = value
		}
		s, err := settingsFrom(func(name string) string { return env[name] })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.settings, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// runMatrix runs all combinations, goes on after failures, and ends with the table.
func runMatrix(ctx context.Context, given settings) error {
	all, err := matrix(given)
	if err != nil {
		return err
	}
	var failed []string
	for _, s := range all {
		if err := runOne(ctx, s); err != nil {
			say("%v", err)
			failed = append(failed, s.name())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := printTable(given, os.Stdout); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w in %s", errTests, strings.Join(failed, ", "))
	}
	return nil
}
