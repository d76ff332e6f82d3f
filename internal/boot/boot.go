// Package boot is the entry point of berth's container image, the drop-in for docker:dind:
// it reads the arguments and variables that docker:dind takes, makes the certificates,
// listens where clients expect the engine, chooses how far the engine is kept from the
// container, and looks after it until it ends.
//
// A container that may (one run with --privileged) gets an engine as `berth run` makes it,
// in namespaces of its own, which gives up the container's power over the host. Any other
// gets dockerd in the namespaces of the container, if that is allowed to do what dockerd
// needs, and a list of the missing options of `docker run` if not.
//
// What docker:dind does and this does differently is listed in docs/guide/dind.md. The
// package knows nothing of command lines but dockerd's. Paths are those of the container.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/linux"
)

// Config is what the entry point is given.
type Config struct {
	Args    []string // after `berth init`
	Environ []string
	Umask   int      // of a command that takes the place of the engine (umask(2))
	Out     *os.File // the container's log
	Log     *slog.Logger

	ready func() // called when the engine is ready, if it is set
}

const (
	self    = "/usr/bin/berth"
	reaper  = "/usr/bin/docker-init" // tini
	dockerd = "/usr/bin/dockerd"
	// runtimeDir holds all that must not outlive the container's processes.
	runtimeDir = "/run/berth"
)

// Run does what the arguments say and returns the exit status. It returns when the engine
// has ended, which SIGTERM and SIGINT (ctx) bring about. For commands of the user's it does
// not return: the process becomes the command.
func Run(ctx context.Context, c Config) (int, error) {
	env := environ(c.Environ)
	p, err := parse(c.Args, env)
	if err != nil {
		return 2, err
	}
	if p.command != nil {
		return runCommand(p.command, c.Environ, c.Umask)
	}
	if os.Geteuid() != 0 {
		return 125, errors.New("berth init has to be the container's root: leave --user out")
	}
	if onMachine(os.Readlink) {
		return 125, errors.New("berth init is for a container, which it takes over, and this is none; `berth up` starts an engine here")
	}
	if os.Getpid() == 1 {
		// Somebody has to look after orphans, and this program has children of its own to wait for.
		return 125, reaped(append([]string{"init"}, c.Args...), c.Environ)
	}
	return serve(ctx, c, p, env)
}

// reaped has this program run below one that looks after orphans. It returns only when that
// cannot be.
func reaped(args, env []string) error {
	err := unix.Exec(reaper, append([]string{"docker-init", "--", self}, args...), env)
	return fmt.Errorf("start %s: %w", reaper, err)
}

// serve starts an engine and stays with it.
func serve(ctx context.Context, c Config, p *plan, env map[string]string) (int, error) {
	say := func(format string, args ...any) { fmt.Fprintf(c.Out, "berth: "+format+"\n", args...) }
	if err := prepare(); err != nil {
		return 125, err
	}
	health, err := newHealth(healthSocket)
	if err != nil {
		return 125, err
	}
	defer health.close()
	if err := p.settle(); err != nil {
		return 2, err
	}
	if p.tls, err = p.findTLS(env); err != nil {
		return 125, err
	}
	listeners, err := listen(p.hosts, p.group)
	if err != nil {
		return 125, err
	}
	defer listeners.close()
	if p.plain() {
		say("warning: the Docker API is open to everybody who can reach this container, without TLS; leave DOCKER_TLS_CERTDIR as it is for TLS")
	}
	isolation, why, err := choose(p.isolation)
	if err != nil {
		return 125, err
	}
	say("isolation %s: %s", isolation, why)
	s := &starter{Config: c, plan: p, env: env, listeners: listeners, say: say}
	e, err := s.start(ctx, isolation)
	if err != nil {
		return 125, err
	}
	if err := loadImages(ctx, e.socket(), imagesDir, say); err != nil {
		say("%v", err)
	}
	if err := health.ready(e.socket(), newRegistries(p.certs, p.spec.Trust.CAs, say)); err != nil {
		return 125, err
	}
	slim(say)
	if c.ready != nil {
		c.ready()
	}
	return e.wait(ctx)
}

// slim gives back what was needed once.
func slim(say func(string, ...any)) {
	if err := linux.Slim(); err != nil {
		say("give memory back: %v", err)
	}
}

// settle reads the files that say what the engine is to be.
func (p *plan) settle() (err error) {
	if p.config, err = p.readConfig(); err != nil {
		return err
	}
	file, err := config.Load()
	if err != nil {
		return err
	}
	p.takeDefaults(file)
	if err := p.mergeRegistries(file.Trust); err != nil {
		return err
	}
	p.spec = engine.Spec{
		Name: "docker", DaemonConfig: p.config, Limits: engine.Limits{PIDs: p.pids},
		Network: engine.Network{Hosts: hostsEntries("/etc/hosts")},
	}
	if err := p.trust(&p.spec); err != nil {
		return err
	}
	mirror := p.spec.Trust.Mirror
	if mirror == engine.MirrorOff || mirror == engine.MirrorLocal {
		mirror = ""
	}
	p.certs, err = p.spec.Certificates(mirror)
	return err
}

// started is an engine that has been started.
type started interface {
	socket() string // of the Docker API, in the container
	// wait returns the engine's exit status when it has ended. When ctx ends, it stops the
	// engine, whose containers are given time to stop.
	wait(ctx context.Context) (int, error)
}

// starter has what both ways of starting an engine need.
type starter struct {
	Config
	plan      *plan
	env       map[string]string
	listeners *listeners
	say       func(string, ...any)
}

func (s *starter) start(ctx context.Context, isolation Isolation) (started, error) {
	if isolation == None {
		return s.startHere(ctx)
	}
	return s.startNested(ctx, isolation)
}
