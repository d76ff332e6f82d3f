package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// relayed are the signals that berth takes and passes on. Not among them are SIGTSTP,
// SIGTTIN and SIGTTOU, so that berth stops as any job does, and SIGWINCH and SIGCONT,
// which the kernel or the shell deliver to the command themselves.
var relayed = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
}

// Interrupted is the cause of a context that a signal has cancelled.
type Interrupted struct{ Signal syscall.Signal }

func (e *Interrupted) Error() string {
	return fmt.Sprintf("interrupted by %s", unix.SignalName(e.Signal))
}

// Status is the exit status that tells of the signal, as a shell's: 128 plus its number.
func (e *Interrupted) Status() int { return 128 + int(e.Signal) }

// Signals receives this process's signals and hands each to whoever is in charge at the
// time: they cancel a context, or go to a command ([Signals.Take]).
type Signals struct {
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	taken  chan syscall.Signal // nil while signals cancel
	notify chan os.Signal
	done   chan struct{}
}

// Watch begins to receive signals. The context it returns is cancelled by SIGINT,
// SIGTERM, SIGHUP and SIGQUIT, with an [*Interrupted] as the cause. Signals that were
// ignored when the process began stay ignored (nohup(1)), and a reader of its output
// that goes away ends a write with EPIPE instead of the process with SIGPIPE, so that
// cleaning up comes first.
func Watch(ctx context.Context) (context.Context, *Signals) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &Signals{cancel: cancel, notify: make(chan os.Signal, 32), done: make(chan struct{})}
	for _, sig := range append([]os.Signal{unix.SIGPIPE}, relayed...) {
		if !signal.Ignored(sig) {
			signal.Notify(s.notify, sig)
		}
	}
	go s.loop()
	return ctx, s
}

// Take gives the signals that arrive from now on to a channel instead, until [Signals.Release].
// Look afterwards whether one has cancelled the context before.
func (s *Signals) Take() <-chan syscall.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = make(chan syscall.Signal, cap(s.notify))
	return s.taken
}

// Release has signals cancel the context again, also by those that came to the channel of
// Take and that nobody has read.
func (s *Signals) Release() {
	s.mu.Lock()
	unread := s.taken
	s.taken = nil
	s.mu.Unlock()
	for {
		select {
		case sig := <-unread:
			s.handle(sig)
		default:
			return
		}
	}
}

func (s *Signals) handle(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.taken != nil:
		select {
		case s.taken <- sig:
		default: // nobody reads: as with the kernel's, one of a kind pending is enough
		}
	case sig != unix.SIGUSR1 && sig != unix.SIGUSR2 && sig != unix.SIGALRM:
		s.cancel(&Interrupted{sig})
	}
}

// Stop gives the signals back to their default actions.
func (s *Signals) Stop() {
	signal.Stop(s.notify)
	close(s.done)
}

func (s *Signals) loop() {
	for {
		select {
		case <-s.done:
			return
		case sig := <-s.notify:
			if n := sig.(syscall.Signal); n != unix.SIGPIPE {
				s.handle(n)
			}
		}
	}
}
