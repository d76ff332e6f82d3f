// Package berthtest gives Go tests Docker engines of their own.
//
//	func TestStore(t *testing.T) {
//		e := berthtest.New(t)
//		img := berthtest.Image(t, e, "store:1", berthtest.WithFile("/etc/store.conf", conf))
//		c, err := e.Run(t.Context(), img.ID, []string{"serve"}, berth.WithPort("80"))
//		…
//	}
//
// An engine starts in a fraction of a second and belongs to its test: parallel tests do not
// see each other's images, names and ports, and nothing is left. When the test fails, the
// engine's log is shown. Where the machine cannot run engines the test is skipped with the
// reason; with BERTH_TEST_REQUIRED=1 it fails instead, so that CI cannot pass for want of root.
package berthtest

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth"
)

// EnvRequired, set to 1, makes tests fail that would be skipped.
const EnvRequired = "BERTH_TEST_REQUIRED"

const (
	startTimeout = 2 * time.Minute // the first start on a machine unpacks the payload
	closeTimeout = time.Minute
	shownLog     = 8 << 10 // bytes of an engine's log that a failed test shows
)

// New starts an engine that is closed at the test's end.
func New(t testing.TB, opts ...berth.Option) *berth.Engine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	e, err := berth.Start(ctx, opts...)
	if err != nil {
		stop(t, err)
	}
	t.Cleanup(func() { end(t, e) })
	return e
}

// stop skips a test where no engine can be had for reasons of the machine.
func stop(t testing.TB, err error) {
	t.Helper()
	missing := errors.Is(err, berth.ErrPrivilege) || errors.Is(err, berth.ErrNoBinary) || errors.Is(err, berth.ErrNoPayload) || errors.Is(err, berth.ErrUnable)
	if missing && os.Getenv(EnvRequired) != "1" {
		t.Skipf("berthtest: %v", err)
	}
	t.Fatalf("berthtest: %v", err)
}

func end(t testing.TB, e *berth.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if t.Failed() {
		show(ctx, t, e)
	}
	if err := e.Close(ctx); err != nil {
		t.Errorf("berthtest: %v", err)
	}
}

// show logs the end of the engine's log, which is of use only when something has failed.
func show(ctx context.Context, t testing.TB, e *berth.Engine) {
	for event := range e.Events(expired(ctx)) {
		t.Logf("berthtest: engine %s: %s", e.Name(), event.Text)
	}
	r, err := e.Logs(ctx, false)
	if err != nil {
		t.Logf("berthtest: no log of engine %s: %v", e.Name(), err)
		return
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Logf("berthtest: log of engine %s: %v", e.Name(), err)
	}
	if len(text) > shownLog {
		text = text[len(text)-shownLog:]
		if _, rest, ok := strings.Cut(string(text), "\n"); ok {
			text = []byte(rest)
		}
	}
	t.Logf("berthtest: log of engine %s:\n%s", e.Name(), text)
}

// expired ends at once: only events that have happened are of interest.
func expired(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
