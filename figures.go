package berth

import (
	"context"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/attend"
)

// Stats are the figures of an engine with all its containers. Sizes are bytes.
type Stats struct {
	Memory      uint64 // in use, page cache included
	MemoryPeak  uint64
	MemoryLimit uint64        // 0 for none
	CPU         time.Duration // processor time used
	Throttled   time.Duration // time spent waiting for its share of processors
	PIDs        uint64        // processes and threads
	PIDsLimit   uint64        // 0 for none
}

// Stats reads the figures of the engine.
//
// Errors: [ErrNotRunning], [ErrNotFound] when it is gone, [ErrPrivilege].
func (e *Engine) Stats(ctx context.Context) (Stats, error) {
	event, err := ask(ctx, "stats of engine", e.info.Name, e.options(), attend.Request{Stats: e.info.ID})
	if err != nil || event.Stats == nil {
		return Stats{}, err
	}
	return Stats(*event.Stats), nil
}

// Logs returns what the engine's dockerd has logged, as text; with follow it goes on until
// the engine ends, ctx is cancelled or the reader is closed. Close it.
func (e *Engine) Logs(ctx context.Context, follow bool) (io.ReadCloser, error) {
	o := newOptions(e.options())
	path, err := o.find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	args := []string{"logs", e.info.ID}
	if follow {
		args = []string{"logs", "--follow", e.info.ID}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	said := &lines{log: o.log}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, &Error{Op: "logs of engine", Subject: e.info.Name, Reason: err.Error(), Err: err}
	}
	return &output{out: out, cmd: cmd, cancel: cancel, said: said, engine: e.info.Name}, nil
}

// output is what a berth process writes; closing it ends the process.
type output struct {
	out    io.Reader
	cmd    *exec.Cmd
	cancel context.CancelFunc
	said   *lines
	engine string
	once   sync.Once
	failed error
}

func (o *output) Read(b []byte) (int, error) {
	n, err := o.out.Read(b)
	if err == io.EOF {
		o.wait()
		if o.failed != nil {
			err = &Error{Op: "logs of engine", Subject: o.engine, Reason: o.failed.Error() + o.said.last(), Err: o.failed}
		}
	}
	return n, err
}

// Close ends the process; what it says of that is of no interest.
func (o *output) Close() error {
	o.cancel()
	o.wait()
	return nil
}

func (o *output) wait() {
	o.once.Do(func() {
		o.failed = o.cmd.Wait()
		o.cancel()
	})
}
