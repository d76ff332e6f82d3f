// Package engine makes engines, watches over them and takes them away again.
//
// An engine's life is the ordered list of steps in steps.go: each can be undone from what
// the engine's record says, by this or by any later process, in any state in which a crash
// may have left it. The process that runs the steps becomes the engine's monitor: it holds
// the engine's lock until the engine is gone, and a free lock means a dead engine, which
// [Manager.Collect] takes away.
//
// The package knows nothing of command lines and terminals. Sizes are bytes.
package engine

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/state"
)

// Options are what a [Manager] needs. The zero value of each field but Paths is usable.
type Options struct {
	Paths    state.Paths
	Log      *slog.Logger                       // nil: nothing is logged
	Progress func(done, total int64)            // of the payload's extraction, in bytes
	Trace    func(step string, d time.Duration) // how long each step took
	Nest     *Nest                              // of a container's engine; nil for others
}

// Manager works on the engines of one pair of state directories. Any number of processes
// may have one for the same directories. Its methods may be called concurrently.
type Manager struct {
	paths    state.Paths
	log      *slog.Logger
	progress func(done, total int64)
	trace    func(string, time.Duration)
	fault    fault
	nest     *Nest
}

// New returns a manager. It touches nothing yet.
func New(o Options) (*Manager, error) {
	m := &Manager{paths: o.Paths, log: o.Log, progress: o.Progress, trace: o.Trace, fault: faultFromEnv(), nest: o.Nest}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.trace == nil {
		m.trace = traceFromEnv(os.Stderr)
	}
	if m.paths == (state.Paths{}) {
		p, err := state.FromEnv()
		if err != nil {
			return nil, err
		}
		m.paths = p
	}
	return m, nil
}

// Tree returns the payload, which it extracts first when this has not been done yet.
// It returns payload.ErrNotBuilt when the binary holds none.
func (m *Manager) Tree(ctx context.Context) (*payload.Tree, error) {
	p, err := payload.Embedded()
	if err != nil {
		return nil, err
	}
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	return p.Extract(ctx, m.paths.Payload(), m.progress)
}

// EnvTrace, when set to 1, has every step's duration written to standard error as a JSON object a line.
const EnvTrace = "BERTH_TRACE"

func traceFromEnv(w io.Writer) func(string, time.Duration) {
	if os.Getenv(EnvTrace) != "1" {
		return func(string, time.Duration) {}
	}
	enc := json.NewEncoder(w)
	return func(step string, d time.Duration) {
		_ = enc.Encode(struct {
			Step string  `json:"step"`
			MS   float64 `json:"ms"`
		}{step, float64(d.Microseconds()) / 1000})
	}
}
