package berthtest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/berth-dev/berth"
)

// recorder is a test whose end is seen from outside.
type recorder struct {
	testing.TB
	failed, skipped bool
	log             []string
	cleanup         []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Logf(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = true
	r.Logf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// run runs a test to its end, cleaning up included.
func run(t *testing.T, f func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range r.cleanup {
				f()
			}
		}()
		f(r)
	}()
	<-done
	return r
}

func TestSkipsWithAReason(t *testing.T) {
	t.Setenv(berth.EnvBinary, "/does/not/exist")
	t.Setenv(EnvRequired, "")
	r := run(t, func(t testing.TB) { New(t) })
	if !r.skipped || r.failed || !strings.Contains(strings.Join(r.log, ""), "no berth program") {
		t.Errorf("skipped %v, failed %v: %q", r.skipped, r.failed, r.log)
	}
}

func TestFailsWhereEnginesAreRequired(t *testing.T) {
	t.Setenv(berth.EnvBinary, "/does/not/exist")
	t.Setenv(EnvRequired, "1")
	r := run(t, func(t testing.TB) { New(t) })
	if r.skipped || !r.failed {
		t.Errorf("skipped %v, failed %v: %q", r.skipped, r.failed, r.log)
	}
}

func TestFailsForAMistake(t *testing.T) {
	e := run(t, func(t testing.TB) { New(t, berth.WithMemory(1)) })
	if e.skipped && !strings.Contains(strings.Join(e.log, ""), "no berth program") && !strings.Contains(strings.Join(e.log, ""), "root") {
		t.Errorf("a mistake was skipped: %q", e.log)
	}
}

func TestLogIsShownOnFailureOnly(t *testing.T) {
	New(t).Close(t.Context()) // skips this test where engines cannot be had
	for _, fail := range []bool{false, true} {
		r := run(t, func(t testing.TB) {
			New(t)
			if fail {
				t.Errorf("on purpose")
			}
		})
		if shown := strings.Contains(strings.Join(r.log, ""), "log of engine"); shown != fail {
			t.Errorf("failed %v, log shown %v: %q", fail, shown, r.log)
		}
	}
}

func TestArchiveIsTheSameEachTime(t *testing.T) {
	build := func() string {
		c := contents{files: map[string]file{"/a/b/c": {data: []byte("x")}, "/a/d": {link: "b"}, "/e": {}}}
		b, err := c.archive()
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if first, second := build(), build(); first != second {
		t.Error("the same contents gave different archives")
	}
}
