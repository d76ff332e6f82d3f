package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/state"
)

func (a *app) logsVerb() *cobra.Command {
	follow, tail := false, -1
	cmd := &cobra.Command{
		Use:               "logs NAME",
		Short:             "Print what an engine's dockerd logs",
		Example:           "  sudo berth logs -f --tail 20 web",
		Args:              exactly(1, "the name or id of an engine"),
		ValidArgsFunction: a.completeFirst,
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < 0 && cmd.Flags().Changed("tail") {
				return usage(cmd, "--tail %d: give a number of lines from 0", tail)
			}
			return a.logs(cmd.Context(), args[0], follow, tail)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing until the engine ends")
	cmd.Flags().IntVarP(&tail, "tail", "n", tail, "print the last `lines` only (default: all)")
	return cmd
}

func (a *app) logs(ctx context.Context, ref string, follow bool, tail int) error {
	es, err := a.open(a)
	if err != nil {
		return err
	}
	info, err := a.find(ctx, es, ref)
	if err != nil {
		return err
	}
	f, err := os.Open(info.Log)
	if err != nil {
		return fmt.Errorf("open the log of engine %s: %w; `berth inspect %s` shows how it is", info.Name, err, info.Name)
	}
	defer f.Close()
	if err := seekTail(f, tail); err != nil {
		return fmt.Errorf("read the log of engine %s: %w", info.Name, err)
	}
	if !follow {
		_, err = io.Copy(a.Out, f)
		return err
	}
	paths, err := state.FromEnv()
	if err != nil {
		return err
	}
	l := &follower{out: a.Out, f: f, alive: paths.Engine(info.ID)}
	defer func() { l.f.Close() }()
	return l.follow(ctx)
}

// seekTail moves to the last lines of f; all of it when lines is negative.
func seekTail(f *os.File, lines int) error {
	if lines < 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || lines == 0 {
		return err
	}
	const block = 32 << 10
	buf := make([]byte, block)
	for at := end; at > 0; {
		n := min(at, block)
		at -= n
		if _, err := f.ReadAt(buf[:n], at); err != nil {
			return err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 { // the newline at the very end ends the last line
				continue
			}
			if lines--; lines <= 0 {
				_, err := f.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// follower prints a log as it grows.
type follower struct {
	out   io.Writer
	f     *os.File
	alive string // a directory that exists for as long as the engine does
}

// follow returns when the engine has ended or ctx is cancelled.
func (l *follower) follow(ctx context.Context) error {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w; raise fs.inotify.max_user_instances", l.f.Name(), err)
	}
	defer watch.Close()
	// The log's directory is watched, for a file that begins anew or is removed.
	for _, dir := range []string{filepath.Dir(l.f.Name()), filepath.Dir(l.alive)} {
		if err := watch.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w; raise fs.inotify.max_user_watches", dir, err)
		}
	}
	for {
		// Looked at before the log is read: what was written before the end gets printed.
		_, statErr := os.Stat(l.alive)
		if err := l.read(); err != nil || errors.Is(statErr, os.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-watch.Errors:
			return fmt.Errorf("watch %s: %w", l.f.Name(), err)
		case <-watch.Events:
		}
	}
}

// read prints what is new, also in a new file of that name: a log that is full begins anew.
func (l *follower) read() error {
	for {
		if _, err := io.Copy(l.out, l.f); err != nil {
			return err
		}
		have, err := l.f.Stat()
		if err != nil {
			return err
		}
		now, err := os.Stat(l.f.Name())
		if errors.Is(err, os.ErrNotExist) || err == nil && os.SameFile(have, now) {
			return nil
		}
		if err != nil {
			return err
		}
		next, err := os.Open(l.f.Name())
		if err != nil {
			return err
		}
		l.f.Close()
		l.f = next
	}
}
