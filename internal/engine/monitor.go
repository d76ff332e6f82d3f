package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/distrust"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/network/dns"
	"github.com/berth-dev/berth/internal/pid1"
)

// monitor is this process's side of a running engine: the protocol with init (drawn in
// package pid1), the engine's log, its names and its memory events.
type monitor struct {
	m     *Manager
	id    string
	log   *slog.Logger
	notes chan string

	mu      sync.Mutex // guards control and what follows
	control *os.File
	exited  *pid1.Exited
	ooms    int

	recording sync.Mutex // held while the engine's record is written; guards recorded
	recorded  bool       // for the last time

	ready chan struct{} // closed when dockerd is ready
	done  chan struct{} // closed when init has gone
	logs  *logPump

	netns    *os.File
	names    *dns.Server
	mirror   *mirrorRelay
	reach    *reach
	certs    *distrust.Watch
	stopLook func() // at the mirror's certificate
	stopOOM  func()
}

func newMonitor(m *Manager, info *Info, control, logs, logWriter *os.File) (*monitor, error) {
	mon := &monitor{
		m: m, id: info.ID, log: m.log.With("engine", info.ID), control: control,
		notes: make(chan string, 16), ready: make(chan struct{}), done: make(chan struct{}),
	}
	mon.watch(&info.Spec, m.usualAuthorities(info))
	var err error
	if mon.logs, err = newLogPump(m.nest.console(), info.Log, info.Spec.Owner); err != nil {
		control.Close()
		logs.Close()
		logWriter.Close()
		return nil, err
	}
	mon.logs.start(logs, logWriter, mon.note, mon.certs.Line)
	go mon.read()
	return mon, nil
}

// read follows what init says until init is gone.
func (mon *monitor) read() {
	defer close(mon.done)
	r := bufio.NewReader(mon.control)
	var once sync.Once
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var msg pid1.Message
		if err := json.Unmarshal(line, &msg); err != nil {
			mon.log.Warn("init sent what is no message", "error", err)
			continue
		}
		switch {
		case msg.Ready:
			once.Do(func() { close(mon.ready) })
		case msg.Exited != nil:
			mon.mu.Lock()
			mon.exited = msg.Exited
			mon.mu.Unlock()
		}
	}
}

func (mon *monitor) send(msg pid1.Message) error {
	b, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	mon.mu.Lock()
	defer mon.mu.Unlock()
	_, err = mon.control.Write(append(b, '\n'))
	return err
}

// note tells whoever uses the engine something; nobody is made to listen.
func (mon *monitor) note(text string) {
	mon.log.Info("note", "text", text)
	mon.logs.note(text)
	select {
	case mon.notes <- text:
	default:
	}
}

// watchMemory counts and announces what the engine's own memory limit does.
func (mon *monitor) watchMemory(g *cgroup.Group) error {
	stop, err := g.WatchOOM(func() {
		mon.mu.Lock()
		mon.ooms++
		mon.mu.Unlock()
		mon.note("the engine reached its memory limit and the kernel ended a process in it; give it more with --memory")
		mon.m.warn("record", &Info{ID: mon.id}, mon.recordOOMs())
	})
	mon.stopOOM = stop
	return err
}

// serveNames answers the name queries of the engine, of its containers and of the command
// that runs in its network namespace.
func (mon *monitor) serveNames(ctx context.Context, rec *network.Record, hosts []Host) error {
	if !rec.Resolver.IsValid() {
		return nil
	}
	static := map[string]netip.Addr{network.HostName: rec.HostIP}
	for _, h := range hosts {
		addr, err := h.address(rec)
		if err != nil {
			return err
		}
		static[h.Name] = addr
	}
	listen, err := dns.Addresses(rec.Resolver, "")
	if err != nil {
		return err
	}
	mon.names, err = dns.Serve(ctx, dns.Config{NetNS: mon.netns, Listen: listen, Hosts: static, Log: mon.log})
	return err
}

// awaitReady returns when dockerd can be used, or why it will never be.
func (l *launch) awaitReady(ctx context.Context) error {
	select {
	case <-l.monitor.ready:
	case <-l.monitor.done:
		return l.monitor.reason()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.info.Status, l.info.Ready = StatusRunning, now()
	return l.monitor.save(&l.info)
}

// save writes the record while the engine runs.
func (mon *monitor) save(info *Info) error {
	mon.recording.Lock()
	defer mon.recording.Unlock()
	info.OOMKills = mon.oomKills()
	return mon.m.save(info)
}

// recordOOMs writes into the record how often the memory limit was reached, unless the engine is
// being taken away.
func (mon *monitor) recordOOMs() error {
	mon.recording.Lock()
	defer mon.recording.Unlock()
	if mon.recorded {
		return nil
	}
	info, err := readRecord(mon.m.paths.Record(mon.id))
	if err != nil {
		return err
	}
	info.OOMKills = mon.oomKills()
	return mon.m.save(info)
}

// lastRecord writes what is left of the engine's record, if the engine is kept. No other write
// comes after it.
func (mon *monitor) lastRecord(info *Info, keep bool) error {
	mon.recording.Lock()
	defer mon.recording.Unlock()
	mon.recorded = true
	if !keep {
		return nil
	}
	info.Status, info.OOMKills = StatusStopped, mon.oomKills()
	return writeRecord(mon.m.paths.KeptRecord(info.ID), info)
}

func (mon *monitor) oomKills() int {
	mon.mu.Lock()
	defer mon.mu.Unlock()
	return mon.ooms
}

// reason says why the engine ended by itself.
func (mon *monitor) reason() error {
	mon.logs.wait()
	mon.mu.Lock()
	defer mon.mu.Unlock()
	switch e := mon.exited; {
	case mon.ooms > 0:
		return errors.New("the engine has ended: the kernel killed it at its memory limit; give it more with --memory")
	case e == nil:
		return errors.New("the engine has ended: its init was killed")
	case e.Reason != "":
		return fmt.Errorf("the engine has ended: it could not start: %s", e.Reason)
	default:
		return fmt.Errorf("the engine has ended: its dockerd ended with status %d: %s", e.Code, mon.logs.lastError())
	}
}

// close lets go of the engine. If it still runs, init sees the end of the connection and ends it.
func (mon *monitor) close() {
	if mon.stopOOM != nil {
		mon.stopOOM()
	}
	if mon.names != nil {
		mon.names.Close()
	}
	if mon.mirror != nil {
		mon.mirror.close()
	}
	mon.unwatch()
	if mon.netns != nil {
		mon.netns.Close()
	}
	mon.logs.marks.Close()
	mon.control.Close()
}

func (l *launch) startDaemon(context.Context) error {
	start, err := l.startMessage()
	if err != nil {
		return err
	}
	if err := l.writeBuildx(); err != nil {
		return err
	}
	if err := l.monitor.send(pid1.Message{Start: start}); err != nil {
		return fmt.Errorf("tell init to start dockerd: %w", err)
	}
	return nil
}
