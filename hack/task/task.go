// Package task is what the programs below hack have in common: running others, saying what takes
// its time, and ending when they are interrupted.
package task

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Main runs a program called name with its arguments until it ends or is interrupted, which
// cancels ctx. An error is said, and the exit status 1.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Output runs a program in dir with env added to the environment, and returns its standard
// output. A failure's error holds what it wrote to standard error.
func Output(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if len(args) > 0 {
			name += " " + args[0]
		}
		return nil, fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// stillEvery is how often a long step says that it is still at work.
const stillEvery = 15 * time.Second

// Progress says what a program of this name does, on standard error.
type Progress string

// Say writes one line.
func (p Progress) Say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, string(p)+": "+format+"\n", args...)
}

// During says what is done to which part, and every 15 seconds how long it has taken, until do
// returns.
func (p Progress) During(part, what string, do func() error) error {
	start := time.Now()
	p.Say("%-12s %s", part, what)
	ticker := time.NewTicker(stillEvery)
	defer ticker.Stop()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			p.Say("%-12s %s, %s", part, what, time.Since(start).Round(time.Second))
		}
	}
}
