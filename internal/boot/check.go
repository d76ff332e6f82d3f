package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/doctor"
)

// Try finds out whether this container can have an engine with an isolation by starting one,
// and ends it again. Nothing of the engine is left but an empty data root.
//
// As the container's first process it becomes another one's child first, like [Run]; verb is
// how it is called again.
func Try(ctx context.Context, c Config, isolation Isolation, verb []string) ([]doctor.Result, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("an engine needs the container's root: leave runAsUser out")
	}
	if os.Getpid() == 1 {
		return nil, reaped(verb, c.Environ)
	}
	lacks := lacking()
	out := []doctor.Result{{Name: "node", Status: doctor.OK, Detail: fmt.Sprintf("Linux %s, cgroup %s", doctor.Cheap().Kernel, cgroup.Version())}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began, took := time.Now(), time.Duration(0)
	c.Args = []string{"dockerd", "--isolation=" + string(isolation)}
	c.ready = func() {
		took = time.Since(began)
		cancel(errTried)
	}
	env := environ(c.Environ)
	p, err := parse(c.Args, env)
	if err != nil {
		return nil, err
	}
	status, err := serve(ctx, c, p, env)
	r := doctor.Result{Name: "engine", Status: doctor.OK, Detail: fmt.Sprintf("one started in %.2f s", took.Seconds())}
	switch {
	case took == 0 && err == nil:
		err = fmt.Errorf("it ended with status %d before it was ready; its log is above", status)
		fallthrough
	case took == 0:
		r.Status, r.Detail, r.Remedy = doctor.Fail, err.Error(), strings.Join(lacks.remedies(isolation), ", ")
	case err != nil && !errors.Is(err, errTried):
		r.Status, r.Detail = doctor.Warn, "it started, but did not end well: "+err.Error()
	}
	return append(out, r), nil
}

var errTried = errors.New("tried out")

// remedies are what the container would have to be given.
func (l lack) remedies(i Isolation) []string {
	if i == None {
		return l.forPod()
	}
	if l.forNested() != "" {
		return []string{"securityContext.privileged: true, in a namespace whose Pod Security level is privileged"}
	}
	return nil
}
