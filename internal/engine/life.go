package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/pid1"
)

func now() time.Time { return time.Now().Round(0) }

// Engine is a running engine whose monitor is this process.
type Engine struct {
	m       *Manager
	info    Info
	lock    *os.File
	monitor *monitor
}

// Info returns the engine's record as it was when it became ready.
func (e *Engine) Info() Info { return e.info }

// NetNS is the engine's network namespace; it belongs to the engine, do not close it.
func (e *Engine) NetNS() *os.File { return e.monitor.netns }

// Notes delivers what the user should know while the engine runs: a process ended by the
// memory limit, a bind mount of a path that is not shared. It is never closed.
func (e *Engine) Notes() <-chan string { return e.monitor.notes }

// Done is closed when the engine has ended, by itself or by Close.
func (e *Engine) Done() <-chan struct{} { return e.monitor.done }

// Err says why the engine ended; nil while it runs.
func (e *Engine) Err() error {
	select {
	case <-e.monitor.done:
		return e.monitor.reason()
	default:
		return nil
	}
}

// Close ends the engine at once and removes all of it; only a kept engine's data root
// stays. Containers are not given time to stop: see [Engine.Shutdown] for that. Cancelling
// ctx leaves the rest to Collect.
func (e *Engine) Close(ctx context.Context) error { return e.end(ctx, e.info.Spec.Keep, nil) }

// Shutdown has dockerd stop its containers and end, as SIGTERM does, and then is Close.
// When ctx is cancelled first, the engine is ended at once.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.m.warn("resume", &e.info, e.m.resumeLeft(e.info.ID)) // or dockerd could not hear of it
	if err := e.monitor.send(pid1.Message{Stop: true}); err == nil {
		select {
		case <-e.monitor.done:
		case <-ctx.Done():
		}
	}
	return e.end(context.WithoutCancel(ctx), e.info.Spec.Keep, nil)
}

// end takes the engine away; reason, if any, is recorded with a kept one.
func (e *Engine) end(ctx context.Context, keep bool, reason error) error {
	begin := time.Now()
	defer func() { e.m.trace("close", time.Since(begin)) }()
	if keep {
		e.info.Error = ""
		if reason != nil {
			e.info.Error = reason.Error()
		}
	}
	e.m.warn("record", &e.info, e.monitor.lastRecord(&e.info, keep))
	e.monitor.logs.catchUp() // what dockerd has said may be worth a note
	e.monitor.unwatch()      // before what is looked at goes away with the engine
	err := e.m.undo(ctx, &e.info, keep)
	if err == nil {
		e.monitor.logs.wait()
	}
	e.monitor.close()
	e.lock.Close()
	return err
}

// Collected is what Collect found.
type Collected struct {
	Engines  []string `json:"engines"`                // ids of the dead engines that were taken away
	Kept     []string `json:"kept_engines,omitempty"` // names of those that are stopped now
	Payloads []string `json:"payloads,omitempty"`     // digests of those that no engine needs any more
}

// collectFirst collects before something else is done, which does not fail for it. When ctx has
// ended, what comes next says so.
func (m *Manager) collectFirst(ctx context.Context) {
	if _, err := m.Collect(ctx); err != nil && ctx.Err() == nil {
		m.log.Warn("collect dead engines", "error", err)
	}
}

// Collect takes away what engines left whose monitor was killed, at whatever moment. A
// kept engine's data root stays: the engine is a stopped one then. Engines that have a
// monitor are not touched. Several processes may collect at once.
func (m *Manager) Collect(ctx context.Context) (Collected, error) {
	c := Collected{Engines: []string{}}
	ids, err := m.ids()
	if err != nil {
		return c, err
	}
	errs := []error{m.removePartial(ctx), m.collectSnapshots(ctx)}
	for _, id := range ids {
		if err := m.collect(ctx, id, &c); err != nil {
			errs = append(errs, fmt.Errorf("collect engine %s: %w", id, err))
		}
	}
	return c, errors.Join(errs...)
}

// collect adds to c what it took away of an engine.
func (m *Manager) collect(ctx context.Context, id string, c *Collected) error {
	info, err := m.read(id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Status == StatusStopped {
		return nil
	}
	if err != nil {
		// A record that cannot be read is no reason to keep what it is about.
		info = &Info{ID: id, Name: id, CgroupParent: m.nest.cgroupParent()}
	}
	lock, err := linux.TryLock(m.paths.Lock(id))
	if errors.Is(err, linux.ErrLocked) && info.Monitor.PID != 0 && linux.Doomed(info.Monitor.PID, info.Monitor.StartTime) {
		// It was killed this moment, and the kernel has not let go of all it had.
		lock, err = linux.Lock(ctx, m.paths.Lock(id))
	}
	if errors.Is(err, linux.ErrLocked) {
		return m.resumeLeft(id) // its monitor has it, or another collector
	}
	if errors.Is(err, fs.ErrNotExist) {
		return m.collectOrphan(ctx, id, c)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if locked, err := m.read(id); err == nil && locked.Net != nil {
		info = locked // as it was when its monitor ended
	}
	_, err = os.Stat(m.paths.KeptRecord(id))
	kept := err == nil
	if err := errors.Join(m.undo(ctx, info, kept), m.killLeft(info)); err != nil {
		return err
	}
	if kept {
		c.Kept = append(c.Kept, info.Name)
	} else {
		c.Engines = append(c.Engines, id)
	}
	return nil
}

// collectOrphan throws away a data root that belongs to no engine: one that was killed
// between the removal of its directory and that of its data, or before a reboot.
func (m *Manager) collectOrphan(ctx context.Context, id string, c *Collected) error {
	return m.withAllocation(ctx, func() error {
		for _, path := range []string{m.paths.Engine(id), m.paths.KeptRecord(id)} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				return err // it is somebody's after all
			}
		}
		if err := m.dropData(ctx, &Info{ID: id}); err != nil {
			return err
		}
		c.Engines = append(c.Engines, id)
		return nil
	})
}

// GC is Collect, and also removes payloads that neither this berth nor any engine needs, and
// waits until the trash is empty. What could not be collected is in the error.
func (m *Manager) GC(ctx context.Context) (Collected, error) {
	if err := m.paths.Prepare(); err != nil {
		return Collected{}, err
	}
	c, err := m.Collect(ctx)
	var pruneErr error
	c.Payloads, pruneErr = m.prunePayloads(ctx)
	return c, errors.Join(err, pruneErr, m.tidySnapshots(ctx), m.Sweep(ctx, true))
}

func (m *Manager) prunePayloads(ctx context.Context) ([]string, error) {
	needed := map[string]bool{}
	if p, err := payload.Embedded(); err == nil {
		needed[p.Digest()] = true
	}
	engines, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range engines {
		if e.Status != StatusStopped { // a stopped one starts again with the payload of its day
			needed[e.Payload] = true
		}
	}
	return payload.Prune(ctx, m.paths.Payload(), func(digest string) bool { return needed[digest] })
}

// Stop ends an engine that has a monitor of its own (`up`): its containers are stopped, its
// data root stays. After timeout they are killed. It returns when the engine has ended.
func (m *Manager) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	info, err := m.Find(ctx, ref)
	if err != nil {
		return err
	}
	if info.Status == StatusStopped {
		return nil
	}
	if !info.Spec.Keep {
		return fmt.Errorf("stop %s: it belongs to the `berth run` of process %d; end that one", info.Name, info.Monitor.PID)
	}
	patient, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = m.endMonitor(patient, &info, unix.SIGTERM)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = m.endMonitor(ctx, &info, unix.SIGINT)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", info.Name, err)
	}
	return m.collect(ctx, info.ID, &Collected{}) // if the monitor was killed
}

// endMonitor asks an engine's monitor to end the engine and waits until it has.
func (m *Manager) endMonitor(ctx context.Context, info *Info, sig unix.Signal) error {
	p, err := linux.OpenPIDFD(info.Monitor.PID, info.Monitor.StartTime)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Wait(ctx)
}

// Remove ends an engine if it runs, without waiting for its containers, and removes all of it.
func (m *Manager) Remove(ctx context.Context, ref string) error {
	info, err := m.Find(ctx, ref)
	if err != nil {
		return err
	}
	if !info.Spec.Keep && info.Status != StatusDead {
		return fmt.Errorf("remove %s: it belongs to the `berth run` of process %d; end that one", info.Name, info.Monitor.PID)
	}
	if err := m.endMonitor(ctx, &info, unix.SIGINT); err != nil {
		return fmt.Errorf("remove %s: %w", info.Name, err)
	}
	if err := m.collect(ctx, info.ID, &Collected{}); err != nil {
		return fmt.Errorf("remove %s: %w", info.Name, err)
	}
	return m.withAllocation(ctx, func() error {
		if locked, err := linux.Locked(m.paths.Lock(info.ID)); err != nil || locked {
			return errors.Join(err, fmt.Errorf("remove %s: %w again meanwhile", info.Name, ErrRunning))
		}
		return m.dropData(ctx, &info)
	})
}
