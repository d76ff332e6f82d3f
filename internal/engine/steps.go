package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/berth-dev/berth/internal/certsd"
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

// steps are an engine's start, in order. How they are undone, see [Manager.undo].
var steps = []step{
	{"payload", (*launch).unpack, nil},
	{"allocate", (*launch).allocate, (*Manager).release},
	{"data", (*launch).makeData, (*Manager).dropData},
	{"network-plan", (*launch).planNetwork, nil},
	{"socket", (*launch).listen, nil}, // in the engine's directory
	{"bundle", (*launch).writeBundle, (*Manager).giveBack},
	{"container", (*launch).runContainer, (*Manager).deleteContainer},
	{"cgroup", (*launch).delegate, nil},    // goes with the container
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
	plan     <-chan planned
	listener *net.UnixListener
	mirror   string // URL of the mirror that the engine pulls through; empty: none
	certs    certsd.Tree
	relay    bool // it is this machine's, by way of the monitor
	monitor  *monitor
}

// Start makes an engine and returns when its Docker API can be used. The calling process
// is the engine's monitor from then on: when it ends, however it ends, so does the engine.
// If ctx is cancelled before the engine is ready, or a step fails, all is undone.
// Afterwards ctx means nothing to the engine.
//
// Errors: *[SpecError] for a setting that cannot be used, [ErrNameTaken], ctx's error.
func (m *Manager) Start(ctx context.Context, spec Spec) (*Engine, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return m.start(ctx, &launch{m: m, info: Info{Spec: spec}})
}

func (m *Manager) start(ctx context.Context, l *launch) (_ *Engine, err error) {
	if err := m.paths.Prepare(); err != nil {
		return nil, err
	}
	m.collectFirst(ctx)
	if err := l.placeCgroup(); err != nil {
		return nil, err
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

// undo takes an engine away: its processes first, its directory, from which another attempt
// would work, last and only when all else succeeded. What lies between touches different
// things, takes its time in the kernel, and is undone all at once. With keep, the data root
// and what revives it are left.
func (m *Manager) undo(ctx context.Context, info *Info, keep bool) error {
	first, network, last := len(steps)-1, len(steps)-2, 1
	var wg sync.WaitGroup
	errs := make([]error, len(steps))
	// The kernel takes longest over the network, and minds no processes there.
	wg.Go(func() { errs[network] = m.undoStep(ctx, info, network) })
	if errs[first] = m.undoStep(ctx, info, first); errs[first] != nil {
		wg.Wait()
		return errors.Join(errs...)
	}
	for i := network - 1; i > last; i-- {
		if keep && steps[i].name == "data" {
			wg.Go(func() { errs[i] = m.leaveData(info) })
			continue
		}
		wg.Go(func() { errs[i] = m.undoStep(ctx, info, i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return m.undoStep(ctx, info, last)
}

func (m *Manager) undoStep(ctx context.Context, info *Info, i int) error {
	s := steps[i]
	if s.undo == nil {
		return nil
	}
	begin := time.Now()
	err := s.undo(m, ctx, info)
	m.trace("undo-"+s.name, time.Since(begin))
	return errors.Join(err, m.fault.after("undo-"+s.name))
}

func (l *launch) unpack(ctx context.Context) (err error) {
	if l.tree, err = l.m.Tree(ctx); err == nil {
		l.info.Payload = l.tree.Digest
	}
	return err
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
