package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/doctor"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/state"
)

// engines is what the verbs ask of internal/engine.
type engines interface {
	Start(context.Context, engine.Spec) (running, error)
	StartDetached(context.Context, engine.Spec) (engine.Info, error)
	StartStopped(ctx context.Context, ref string) (engine.Info, error)
	List(context.Context) ([]engine.Info, error)
	Find(ctx context.Context, ref string) (engine.Info, error)
	Stop(ctx context.Context, ref string, timeout time.Duration) error
	Remove(ctx context.Context, ref string) error
	GC(context.Context) (engine.Collected, error)
	Tree(context.Context) (*payload.Tree, error)
	Shell(ctx context.Context, ref string, argv []string, tty bool) (int, error)
	Stats(ctx context.Context, ref string) (cgroup.Stats, error)
	NetNS(ctx context.Context, ref string) (*os.File, error)
}

// running is an engine whose monitor is this process.
type running interface {
	Info() engine.Info
	Done() <-chan struct{}
	Err() error
	Notes() <-chan string
	NetNS() *os.File
	Close(context.Context) error
}

// manager makes an [engine.Manager] an engines.
type manager struct{ *engine.Manager }

func (m manager) Start(ctx context.Context, spec engine.Spec) (running, error) {
	if err := preflight(); err != nil {
		return nil, err
	}
	e, err := m.Manager.Start(ctx, spec)
	if err != nil {
		return nil, err // not e: a nil *Engine would be a running that is not nil
	}
	return e, nil
}

func (m manager) StartDetached(ctx context.Context, spec engine.Spec) (engine.Info, error) {
	if err := preflight(); err != nil {
		return engine.Info{}, err
	}
	return m.Manager.StartDetached(ctx, spec)
}

func (m manager) StartStopped(ctx context.Context, ref string) (engine.Info, error) {
	if err := preflight(); err != nil {
		return engine.Info{}, err
	}
	return m.Manager.StartStopped(ctx, ref)
}

// preflight says why no engine can run on this machine, before anything is made.
func preflight() error { return doctor.Preflight(doctor.Cheap()) }

// openEngines returns this machine's engines; only root may touch them.
func openEngines(a *app) (engines, error) {
	m, err := a.manager()
	if err != nil {
		return nil, err
	}
	return manager{m}, nil
}

func (a *app) manager() (*engine.Manager, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("engines need root (namespaces, mounts, network); use `sudo berth …`")
	}
	paths, err := state.FromEnv()
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Options{Paths: paths, Log: a.log(), Progress: a.progress()})
}

// view is how an engine is shown as JSON: its record, and what a program needs to use it.
type view struct {
	engine.Info
	DockerHost string       `json:"docker_host"`
	Owner      engine.Owner `json:"owner"`
}

func viewOf(info engine.Info) view { return view{info, info.DockerHost(), info.Spec.Owner} }

// note prints a line that is neither a result nor an error.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.Err, "berth: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// printJSON writes v as one line.
func (a *app) printJSON(v any) error { return json.NewEncoder(a.Out).Encode(v) }
