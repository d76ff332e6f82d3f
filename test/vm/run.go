package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var errTests = errors.New("tests failed")

// runOne runs the tests in one machine.
func runOne(ctx context.Context, s settings) error {
	begin := time.Now()
	if err := installMissing(ctx); err != nil {
		return err
	}
	k, err := makeKernel(ctx, s)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	root, err := makeRoot(ctx, s)
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	a := chooseAccelerator(ctx, s, k)
	dir, err := os.MkdirTemp(s.Cache, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	work, data := filepath.Join(dir, "work.img"), filepath.Join(dir, "data.img")
	if err := makeWork(ctx, s, work, a.scale); err != nil {
		return fmt.Errorf("work disk: %w", err)
	}
	if err := makeSparse(data, 16); err != nil {
		return err
	}
	say("%s: booting with %s after %.0f s of preparation", s.name(), a.name, time.Since(begin).Seconds())
	return boot(ctx, s, a, k, root, work, data)
}

// boot runs a machine to its end and judges the results.
func boot(ctx context.Context, s settings, a accelerator, k kernel, root, work, data string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	logs := s.logs()
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	console := filepath.Join(logs, "console.log")
	cmd, out, err := start(ctx, s, a, k, console, root, k.modules, work, data)
	if err != nil {
		return err
	}
	results, err := newResults(ctx, s)
	if err != nil {
		return err
	}
	readErr := results.read(out)
	waitErr := cmd.Wait()
	if err := results.close(); err != nil {
		return err
	}
	results.summary(os.Stdout)
	if state := cmd.ProcessState; state != nil {
		say("%s: the machine took %.0f s of processor time", s.name(), (state.UserTime() + state.SystemTime()).Seconds())
	}
	switch {
	case readErr != nil:
		return readErr
	case !results.done:
		return ended(ctx, s, waitErr, console)
	case results.failed():
		return fmt.Errorf("%w in %s; logs: %s", errTests, s.name(), logs)
	}
	return nil
}

// logs is where a run leaves its report, console and the output of failed tests.
func (s settings) logs() string { return filepath.Join(s.Cache, "logs", s.name()) }

// resultsFile holds the last results of an environment, as `go test -json` prints them.
func (s settings) resultsFile(name string) string {
	return filepath.Join(s.Cache, "results", name+".json")
}

// combinations are those that find different things.
var combinations = []string{
	"CGROUP=v2 INIT=busybox FS=ext4",
	"CGROUP=v2 INIT=systemd FS=xfs",
	"CGROUP=v2 INIT=systemd FS=btrfs IPV6=0",
	"CGROUP=hybrid INIT=systemd FS=ext4",
	"CGROUP=hybrid INIT=busybox FS=ext4 KERNEL=linux-image-amd64",
	"CGROUP=v1 INIT=busybox FS=xfs",
	"CGROUP=v2 INIT=busybox FS=ext4 MEM=1536",
}

// runMatrix runs all combinations, goes on after failures, and ends with the table.
func runMatrix(ctx context.Context, given settings) error {
	var failed []string
	for _, c := range combinations {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		env := map[string]string{"RUN": given.Run, "SKIP": given.Skip, "ACCEL": given.Accel, "LIMIT": given.Limit.String()}
		for word := range strings.FieldsSeq(c) {
			name, value, _ := strings.Cut(word, "=")
			env[name] = value
		}
		s, err := settingsFrom(func(name string) string { return env[name] })
		if err != nil {
			return err
		}
		if env["MEM"] != "" {
			s.Name = s.name() + "-" + env["MEM"] + "m"
		}
		if err := runOne(ctx, s); err != nil {
			say("%v", err)
			failed = append(failed, s.name())
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
