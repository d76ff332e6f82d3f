package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/berth-dev/berth/internal/ids"
	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/payload"
)

// step is a part of making an engine. do may rely on the steps before it. undo works from
// the record alone: it is called for an engine in whatever state a crash left it, so it
// must be content when there is nothing to undo.
type step struct {
	name string
	do   func(*launch, context.Context) error
	undo func(*Manager, context.Context, *Info) error
}

// steps are an engine's start, in order. Its end is their undoing, in reverse.
var steps = []step{
	{"payload", (*launch).unpack, nil},
	{"allocate", (*launch).allocate, (*Manager).release},
	{"data", (*launch).makeData, (*Manager).dropData},
	{"network-plan", (*launch).planNetwork, nil},
	{"socket", (*launch).listen, nil}, // in the engine's directory
	{"bundle", (*launch).writeBundle, (*Manager).giveBack},
	{"container", (*launch).runContainer, (*Manager).deleteContainer},
	{"cgroup", (*launch).delegate, (*Manager).removeCgroup},
	{"daemon", (*launch).startDaemon, nil}, // ends with the container
	{"network", (*launch).attach, (*Manager).detach},
	{"ready", (*launch).awaitReady, (*Manager).killContainer},
}

// StepNames lists the steps of a start, and then those of an end, as [EnvFault] names them.
func StepNames() []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.name)
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].undo != nil {
			out = append(out, "undo-"+steps[i].name)
		}
	}
	return out
}

// launch is an engine in the making: what its steps hand on to each other.
type launch struct {
	m    *Manager
	info Info
	host ids.Host
	made bool // the engine's directory is ours

	lock     *os.File
	tree     *payload.Tree
	listener *net.UnixListener
	handles  []*os.File // of the shares, open while the runtime mounts them
	monitor  *monitor
}

// Start makes an engine and returns when its Docker API can be used. The calling process
// is the engine's monitor from then on: when it ends, however it ends, so does the engine.
// If ctx is cancelled before the engine is ready, or a step fails, all is undone.
// Afterwards ctx means nothing to the engine.
//
// Errors: *[SpecError] for a setting that cannot be used, [ErrNameTaken], ctx's error.
func (m *Manager) Start(ctx context.Context, spec Spec) (*Engine, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	return m.start(ctx, &launch{m: m, info: Info{Spec: spec}})
}

func (m *Manager) start(ctx context.Context, l *launch) (_ *Engine, err error) {
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	if _, err := m.Collect(ctx); err != nil {
		m.log.Warn("collect dead engines", "error", err)
	}
	if l.host, err = ids.ReadHost(); err != nil {
		return nil, err
	}
	if l.info.Monitor, err = self(); err != nil {
		return nil, err
	}
	l.info.Status, l.info.Error = StatusStarting, ""
	begin := time.Now()
	err = l.run(ctx)
	l.closeHandles()
	if err != nil {
		return nil, l.fail(err)
	}
	m.trace("start", time.Since(begin))
	return &Engine{m: m, info: l.info, lock: l.lock, monitor: l.monitor}, nil
}

func (l *launch) run(ctx context.Context) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		begin := time.Now()
		err := s.do(l, ctx)
		if err == nil {
			err = l.m.fault.after(s.name)
		}
		if err != nil {
			l.m.log.Debug("step failed", "step", s.name, "error", err)
			return err
		}
		l.m.trace(s.name, time.Since(begin))
	}
	return nil
}

// fail undoes what was done and returns the reason, with what the engine itself said of it.
func (l *launch) fail(err error) error {
	if l.monitor != nil {
		l.monitor.close()
	}
	if !l.made {
		return err
	}
	// The caller's context may be what ended the start; the clean-up must not be cut short.
	if undoErr := l.m.undo(context.Background(), &l.info, l.info.Spec.Keep && l.info.Revived); undoErr != nil {
		err = errors.Join(err, fmt.Errorf("and clean up: %w; try `berth gc`", undoErr))
	}
	if l.lock != nil {
		l.lock.Close()
	}
	return err
}

// undo takes an engine away, last step first. One failure does not keep the others from
// being undone. With keep its data root and what revives it are left.
func (m *Manager) undo(ctx context.Context, info *Info, keep bool) error {
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if s.undo == nil || keep && s.name == "data" {
			continue
		}
		if s.name == "allocate" && len(errs) > 0 {
			break // its directory is what the next attempt works from
		}
		begin := time.Now()
		if err := s.undo(m, ctx, info); err != nil {
			errs = append(errs, err)
		}
		if err := m.fault.after("undo-" + s.name); err != nil {
			errs = append(errs, err)
		}
		m.trace("undo-"+s.name, time.Since(begin))
	}
	return errors.Join(errs...)
}

func (l *launch) unpack(ctx context.Context) (err error) {
	if l.tree, err = l.m.Tree(ctx); err == nil {
		l.info.Payload = l.tree.Digest
	}
	return err
}

func (l *launch) closeHandles() {
	for _, f := range l.handles {
		f.Close()
	}
	l.handles = nil
}

// self identifies the calling process.
func self() (Process, error) {
	pid := os.Getpid()
	start, err := linux.StartTime(pid)
	return Process{PID: pid, StartTime: start}, err
}

// warn logs what did not work and matters to nobody but those who look for it.
func (m *Manager) warn(what string, info *Info, err error) {
	if err != nil {
		m.log.Warn(what, slog.String("engine", info.ID), slog.Any("error", err))
	}
}
