package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/attend"
	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/state"
)

// attendVerb serves a program that uses package berth; it is not for users.
func (a *app) attendVerb() *cobra.Command {
	return &cobra.Command{
		Use:    attend.Verb,
		Short:  "Look after a program's engine (used by package berth)",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &attendant{app: a, in: json.NewDecoder(a.In), out: json.NewEncoder(a.Out)}
			var req attend.Request
			if err := s.in.Decode(&req); err != nil {
				return fmt.Errorf("%s is for package berth", attend.Verb)
			}
			if err := s.serve(cmd.Context(), req); err != nil {
				s.tell(attend.Event{Failed: failure(err)})
				return statusError(statusFailure)
			}
			return nil
		},
	}
}

// attendant is the side of berth in the protocol that package attend draws.
type attendant struct {
	*app
	in  *json.Decoder
	mu  sync.Mutex // guards out
	out *json.Encoder
}

// tell sends an event. A program that has gone does not hear it; its engine is ended by
// the end of the requests.
func (s *attendant) tell(e attend.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(e)
}

// engines opens this machine's engines, with the progress of extraction told as events.
func (s *attendant) engines() (engines, error) {
	if os.Geteuid() != 0 {
		return nil, errPrivilege
	}
	paths, err := state.FromEnv()
	if err != nil {
		return nil, err
	}
	m, err := engine.New(engine.Options{Paths: paths, Log: s.log(), Progress: func(done, total int64) {
		s.tell(attend.Event{Progress: &attend.Progress{Done: done, Total: total}})
	}})
	if err != nil {
		return nil, err
	}
	return manager{m}, nil
}

func (s *attendant) serve(ctx context.Context, req attend.Request) error {
	es, err := s.engines()
	if err != nil {
		return err
	}
	switch {
	case req.Start != nil:
		return s.start(ctx, es, req.Start)
	case req.List:
		all, err := es.List(ctx)
		if err != nil {
			return err
		}
		out := make([]attend.Engine, 0, len(all))
		for _, info := range all {
			out = append(out, s.describe(ctx, es, info))
		}
		s.tell(attend.Event{Engines: &out})
	case req.Find != "":
		info, err := s.find(ctx, es, req.Find)
		if err != nil {
			return err
		}
		if info.Status != engine.StatusRunning {
			return fmt.Errorf("%w: %s is %s; `berth start %s` starts a stopped one", engine.ErrNotRunning, info.Name, info.Status, info.Name)
		}
		found := s.describe(ctx, es, info)
		s.tell(attend.Event{Ready: &found})
	case req.Stats != "":
		st, err := es.Stats(ctx, req.Stats)
		if err != nil {
			return err
		}
		s.tell(attend.Event{Stats: &attend.Stats{
			Memory: st.Memory, MemoryPeak: st.MemoryPeak, MemoryLimit: st.MemoryLimit,
			CPU: st.CPU, Throttled: st.Throttled, PIDs: st.PIDs, PIDsLimit: st.PIDsLimit,
		}})
	case req.Stop != nil:
		return s.ended(es.Stop(ctx, req.Stop.Engine, req.Stop.Grace))
	case req.Remove != "":
		return s.ended(es.Remove(ctx, req.Remove))
	default:
		return errors.New("a request that this berth does not know; is it older than the program's package berth?")
	}
	return nil
}

func (s *attendant) ended(err error) error {
	if err == nil {
		s.tell(attend.Event{Ended: &attend.Ended{}})
	}
	return err
}

func (s *attendant) describe(ctx context.Context, es engines, info engine.Info) attend.Engine {
	e := attend.Engine{
		ID: info.ID, Name: info.Name, Status: string(info.Status), Error: info.Error,
		Isolation: string(info.Spec.Isolation), Socket: info.Socket,
		UID: info.Spec.Owner.UID, GID: info.Spec.Owner.GID,
		OOMKills: info.OOMKills, Created: info.Created, Ready: info.Ready, Log: info.Log,
	}
	if info.Net != nil && info.Net.EngineIP.IsValid() {
		e.Address = info.Net.EngineIP.String()
	}
	if tree, err := es.Tree(ctx); err == nil {
		e.Docker, e.Busybox = tree.Docker(), tree.File("usr/bin/busybox")
	}
	if as, err := command.Invoking(); err == nil {
		e.Buildx = buildxDir(info, as)
	}
	return e
}

// start makes an engine and stays with it until the program has gone or wants it ended.
func (s *attendant) start(ctx context.Context, es engines, set *attend.Settings) error {
	spec, err := specOf(set)
	if err != nil {
		return &settingsError{err}
	}
	if err := preflight(); err != nil {
		return &unableError{err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	requests := s.listen(func() { cancel(errProgramGone) })
	if set.Detached {
		return s.startDetached(ctx, es, spec)
	}
	e, err := es.Start(ctx, spec)
	if err != nil {
		return err
	}
	ready := s.describe(ctx, es, e.Info())
	s.tell(attend.Event{Ready: &ready})
	return s.watch(ctx, e, requests)
}

func (s *attendant) startDetached(ctx context.Context, es engines, spec engine.Spec) error {
	spec.Keep = true
	info, err := es.StartDetached(ctx, spec)
	if err != nil {
		return err
	}
	ready := s.describe(ctx, es, info)
	s.tell(attend.Event{Ready: &ready})
	return nil
}

var errProgramGone = errors.New("the program that asked for the engine has gone")

// listen delivers the requests that follow the first, and calls gone at their end.
func (s *attendant) listen(gone func()) <-chan attend.Request {
	requests := make(chan attend.Request, 1)
	go func() {
		defer gone()
		for {
			var req attend.Request
			if err := s.in.Decode(&req); err != nil {
				return
			}
			select {
			case requests <- req:
			default: // one is being carried out, and after it there is nothing to do
			}
		}
	}()
	return requests
}

// watch holds the engine until ctx ends, a request ends it, or it ends by itself.
func (s *attendant) watch(ctx context.Context, e running, requests <-chan attend.Request) error {
	closing := context.WithoutCancel(ctx)
	for {
		select {
		case note := <-e.Notes():
			s.tell(attend.Event{Note: note})
		case <-e.Done():
			s.tell(attend.Event{Ended: ended(e.Err(), e.Close(closing))})
			return nil
		case <-ctx.Done():
			s.tell(attend.Event{Ended: ended(nil, e.Close(closing))})
			return nil
		case req := <-requests:
			if gentle, ok := e.(interface{ Shutdown(context.Context) error }); ok && req.Shutdown {
				s.tell(attend.Event{Ended: ended(nil, gentle.Shutdown(ctx))})
				return nil
			}
		}
	}
}

func ended(reason, left error) *attend.Ended {
	var e attend.Ended
	if reason != nil {
		e.Reason = oneLine(reason.Error())
	}
	if left != nil {
		e.Left = oneLine(left.Error())
	}
	return &e
}
