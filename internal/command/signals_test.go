package command

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func raise(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := unix.Kill(unix.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func awaitInterrupted(t *testing.T, ctx context.Context, sig syscall.Signal) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the context was not cancelled")
	}
	var i *Interrupted
	if err := context.Cause(ctx); !errors.As(err, &i) || i.Signal != sig {
		t.Errorf("the cause is %v", err)
	}
}

// Signals go to whoever has taken them, and cancel the context before and after.
func TestSignals(t *testing.T) {
	ctx, s := Watch(context.Background())
	defer s.Stop()
	taken := s.Take()
	raise(t, unix.SIGTERM)
	if sig := <-taken; sig != unix.SIGTERM || ctx.Err() != nil {
		t.Errorf("got %v, context: %v", sig, ctx.Err())
	}
	s.Release()
	raise(t, unix.SIGUSR1) // is for commands only
	raise(t, unix.SIGHUP)
	awaitInterrupted(t, ctx, unix.SIGHUP)
}

// A signal that came too late for a command is not lost.
func TestUnreadSignal(t *testing.T) {
	ctx, s := Watch(context.Background())
	defer s.Stop()
	taken := s.Take()
	raise(t, unix.SIGINT)
	for len(taken) == 0 { // it is on its way
		time.Sleep(time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("a taken signal cancelled the context")
	}
	s.Release()
	awaitInterrupted(t, ctx, unix.SIGINT)
}
