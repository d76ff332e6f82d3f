package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/internal/linux"
	"github.com/berth-dev/berth/internal/network"
	"github.com/berth-dev/berth/internal/snapshot/layers"
	"github.com/berth-dev/berth/internal/state"
)

// newManager returns a manager of directories of its own. No engine is started: what needs
// root is tested with real engines, in test/.
func newManager(t *testing.T) *Manager {
	t.Helper()
	m, err := New(Options{Paths: state.Paths{Run: filepath.Join(t.TempDir(), "r"), State: filepath.Join(t.TempDir(), "s")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.paths.Prepare(); err != nil {
		t.Fatal(err)
	}
	return m
}

// put records an engine, whose lock is held until the returned function is called.
func put(t *testing.T, m *Manager, info Info) (die func()) {
	t.Helper()
	if err := os.Mkdir(m.paths.Engine(info.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := linux.TryLock(m.paths.Lock(info.ID))
	if err != nil {
		t.Fatal(err)
	}
	if info.Spec.Keep {
		putStopped(t, m, info)
	}
	if err := m.save(&info); err != nil {
		t.Fatal(err)
	}
	return func() { lock.Close() }
}

// putStopped records an engine of which only the data root is left.
func putStopped(t *testing.T, m *Manager, info Info) {
	t.Helper()
	if err := os.MkdirAll(m.paths.StateEngine(info.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(m.paths.KeptRecord(info.ID), &info); err != nil {
		t.Fatal(err)
	}
}

func TestStatusIsWhatTheLockSays(t *testing.T) {
	m := newManager(t)
	created := time.Now()
	die := put(t, m, Info{ID: "aaaaaaaaaaaa", Name: "one", Status: StatusRunning, Created: created})
	defer put(t, m, Info{ID: "bbbbbbbbbbbb", Name: "two", Status: StatusRunning, Created: created.Add(time.Second), Spec: Spec{Keep: true}})()
	die()
	putStopped(t, m, Info{ID: "cccccccccccc", Name: "three", Status: StatusRunning, Created: created.Add(time.Minute)})
	all, err := m.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range all {
		got = append(got, fmt.Sprintf("%s %s", i.Name, i.Status))
	}
	if diff := cmp.Diff([]string{"one dead", "two running", "three stopped"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFind(t *testing.T) {
	m := newManager(t)
	for _, i := range []Info{{ID: "abcaaaaaaaaa", Name: "ci"}, {ID: "abcbbbbbbbbb", Name: "abca"}} {
		defer put(t, m, i)()
	}
	for ref, want := range map[string]string{"ci": "abcaaaaaaaaa", "abcaaaaaaaaa": "abcaaaaaaaaa", "abcb": "abcbbbbbbbbb", "abca": "abcbbbbbbbbb"} {
		if got, err := m.Find(t.Context(), ref); err != nil || got.ID != want {
			t.Errorf("%s: %s, %v; want %s", ref, got.ID, err, want)
		}
	}
	for _, ref := range []string{"", "abc", "x", "../x"} {
		if _, err := m.Find(t.Context(), ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// Of the engines whose monitor was killed, those that are kept are stopped ones.
func TestCollect(t *testing.T) {
	m := newManager(t)
	put(t, m, Info{ID: "aaaaaaaaaaaa", Name: "gone", Status: StatusRunning})()
	put(t, m, Info{ID: "bbbbbbbbbbbb", Name: "kept", Status: StatusRunning, Spec: Spec{Keep: true}})()
	defer put(t, m, Info{ID: "cccccccccccc", Name: "alive", Status: StatusRunning, Spec: Spec{Keep: true}})()
	for _, want := range []Collected{{Engines: []string{"aaaaaaaaaaaa"}, Kept: []string{"kept"}}, {Engines: []string{}}} {
		if got, err := m.Collect(t.Context()); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v (%v), want %+v", got, err, want)
		}
	}
	if got, err := m.Find(t.Context(), "kept"); err != nil || got.Status != StatusStopped {
		t.Errorf("the kept one: %s (%v)", got.Status, err)
	}
}

// An engine that stops is found by its name at every moment.
func TestFindWhileItStops(t *testing.T) {
	m := newManager(t)
	for round := range 50 {
		info := Info{ID: "aaaaaaaaaaaa", Name: "ci", Status: StatusRunning, Spec: Spec{Keep: true}}
		die := put(t, m, info)
		for i := range 20 { // it takes its time to remove them
			if err := os.WriteFile(filepath.Join(m.paths.Engine(info.ID), fmt.Sprint("file", i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		released := make(chan error, 1)
		go func() { released <- m.release(t.Context(), &info) }()
		for looking := true; looking; {
			select {
			case err := <-released:
				if err != nil {
					t.Fatal(err)
				}
				looking = false
			default:
			}
			if _, err := m.Find(t.Context(), "ci"); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		die()
	}
	if left, err := os.ReadDir(m.paths.Engines()); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// Who starts or freezes a stopped engine has looked at it before it was his alone.
func TestTakeUp(t *testing.T) {
	m := newManager(t)
	info := Info{ID: "aaaaaaaaaaaa", Name: "ci", Status: StatusStopped, Spec: Spec{Keep: true}}
	putStopped(t, m, info)
	l := &launch{m: m, info: info}
	info.Bases = []layers.Base{{ID: "base"}} // a snapshot was made of it meanwhile
	putStopped(t, m, info)
	if err := l.takeUp(); err != nil || !cmp.Equal(l.info.Bases, info.Bases) {
		t.Errorf("it shares %v (%v), want %v", l.info.Bases, err, info.Bases)
	}
	info.Status = StatusRunning // started
	die := put(t, m, info)
	if err := l.takeUp(); !errors.Is(err, ErrRunning) {
		t.Errorf("of one that was started: %v", err)
	}
	die()
	for _, dir := range []string{m.paths.Engine(info.ID), m.paths.StateEngine(info.ID)} { // removed
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.allocate(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("of one that was removed: %v", err)
	}
	if left, err := m.ids(); err != nil || len(left) > 0 {
		t.Errorf("it is back: %v (%v)", left, err)
	}
}

// What the memory limit did is in the record of an engine that runs and of one that has ended, and
// nothing is written of one that is being taken away.
func TestRecordOfMemoryLimit(t *testing.T) {
	m := newManager(t)
	info := Info{ID: "aaaaaaaaaaaa", Name: "ci", Status: StatusRunning, Spec: Spec{Keep: true}}
	defer put(t, m, info)()
	mon := &monitor{m: m, id: info.ID, ooms: 3}
	if err := mon.recordOOMs(); err != nil {
		t.Fatal(err)
	}
	if got, err := m.read(info.ID); err != nil || got.OOMKills != 3 || got.Status != StatusRunning {
		t.Errorf("while it runs: %+v (%v)", got, err)
	}
	if err := mon.lastRecord(&info, true); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.paths.Engine(info.ID)); err != nil {
		t.Fatal(err)
	}
	mon.ooms = 4
	if err := mon.recordOOMs(); err != nil {
		t.Error(err)
	}
	if got, err := m.read(info.ID); err != nil || got.OOMKills != 3 || got.Status != StatusStopped {
		t.Errorf("afterwards: %+v (%v)", got, err)
	}
}

func TestValidate(t *testing.T) {
	good := []Spec{{}, {Name: "ci-1_a.b", Isolation: IsolationRootful, ShareAs: ShareAsKeepID}, {Limits: Limits{Memory: 64 << 20, CPUs: 0.5, PIDs: 64}},
		{Network: Network{MTU: 1400, Hosts: []Host{{"registry.test", HostGateway}, {"six.test", "fd00::1"}}}},
		{Shares: []Share{{Path: "/home/me"}, {Path: "/tmp/x"}, {Path: "/root/x"}, {Path: "/usrlocal"}}},
		{RegistryCAs: []RegistryCA{{Host: "r.test:5000"}, {Host: "[::1]:5000"}}}, {DaemonConfig: json.RawMessage(`{"debug":true}`)}}
	for _, s := range good {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for want, s := range map[string][]Spec{
		"name":            {{Name: "-x"}, {Name: "A"}, {Name: "a/b"}, {Name: strings.Repeat("a", 64)}},
		"--isolation":     {{Isolation: "none"}},
		"--share-as":      {{ShareAs: "me"}},
		"--memory":        {{Limits: Limits{Memory: -1}}, {Limits: Limits{Memory: 4 << 20}}},
		"--cpus":          {{Limits: Limits{CPUs: -1}}, {Limits: Limits{CPUs: 0.001}}},
		"--pids":          {{Limits: Limits{PIDs: -1}}, {Limits: Limits{PIDs: 3}}},
		"--net":           {{Network: Network{Driver: "bridge"}}},
		"--mtu":           {{Network: Network{MTU: 100}}, {Network: Network{MTU: 70000}}},
		"--add-host":      {{Network: Network{Hosts: []Host{{"a b", "1.2.3.4"}}}}, {Network: Network{Hosts: []Host{{"-a", "1.2.3.4"}}}}, {Network: Network{Hosts: []Host{{"a\nb", "1.2.3.4"}}}}, {Network: Network{Hosts: []Host{{"", "1.2.3.4"}}}}, {Network: Network{Hosts: []Host{{"a", "1.2.3"}}}}, {Network: Network{Driver: NetworkNone, Hosts: []Host{{"a", HostGateway}}}}},
		"--share":         {{Shares: []Share{{Path: "/"}}}, {Shares: []Share{{Path: "x"}}}, {Shares: []Share{{Path: "/a/../b"}}}, {Shares: []Share{{Path: "/proc"}}}, {Shares: []Share{{Path: "/usr/src"}}}, {Shares: []Share{{Path: "/var"}}}, {Shares: []Share{{Path: "/tmp"}}}, {Shares: []Share{{Path: "/a"}, {Path: "/a"}}}},
		"--runtime":       {{Runtime: "crun"}},
		"--registry-ca":   {{RegistryCAs: []RegistryCA{{Host: "../x"}}}, {RegistryCAs: []RegistryCA{{Host: "a/b"}}}, {RegistryCAs: []RegistryCA{{Host: ""}}}, {RegistryCAs: []RegistryCA{{Host: "https://r.test"}}}, {RegistryCAs: []RegistryCA{{Host: ".."}}}, {RegistryCAs: []RegistryCA{{Host: "r.test:0"}}}, {RegistryCAs: []RegistryCA{{Host: "r.test:99999"}}}},
		"--daemon-config": {{DaemonConfig: json.RawMessage(`[]`)}, {DaemonConfig: json.RawMessage(`{"hosts":[]}`)}, {DaemonConfig: json.RawMessage(`{"data-root":"/x"}`)}},
	} {
		for _, s := range s {
			var e *SpecError
			if err := s.Validate(); !errors.As(err, &e) || e.Field != want || strings.Contains(err.Error(), "\n") {
				t.Errorf("%+v: %v; want one line on %s", s, err, want)
			}
		}
	}
}

func TestShareProblemGuardsOwnDirectories(t *testing.T) {
	m := newManager(t)
	for _, path := range []string{m.paths.Run, m.paths.State, m.paths.Engines(), filepath.Dir(m.paths.State)} {
		if m.ShareProblem(path) == "" {
			t.Errorf("%s may be shared", path)
		}
	}
	if p := m.ShareProblem("/home/me"); p != "" {
		t.Error(p)
	}
}

func TestDaemonConfig(t *testing.T) {
	b, err := daemonConfig(&network.Record{MTU: 1400}, json.RawMessage(`{"log-level":"debug","firewall-backend":"iptables"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"mtu": 1400.0, "log-level": "debug", "storage-driver": "overlayfs", "firewall-backend": "iptables"} {
		if !cmp.Equal(got[key], want) {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
	for config, want := range map[string]string{string(b): "/usr/bin:/usr/sbin", `{"firewall-backend": "nftables"}`: "/usr/bin"} {
		if got := daemonEnv([]byte(config))[0]; got != "PATH="+want {
			t.Errorf("%s, want PATH=%s", got, want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	rec := &network.Record{HostIP: netip.MustParseAddr("198.18.0.2"), EngineIP: netip.MustParseAddr("198.18.0.3")}
	got, err := hostsFile("ci", rec, []Host{{"r.test", HostGateway}, {"x.test", "10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n198.18.0.3\tci\n198.18.0.2\thost.berth.internal\n198.18.0.2\tr.test\n10.0.0.1\tx.test\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostname(t *testing.T) {
	for name, want := range map[string]string{"ci": "ci", "a_b": "a-b", "x.": "x"} {
		if got := hostname(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestLogPump(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	var notes []string
	p, err := newLogPump(nil, path, Owner{os.Getuid(), os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	p.start(r, w, func(s string) { notes = append(notes, s) })
	text := `time="x" level=warning msg="harmless"
time="x" level=error msg="Handler for POST /v1.56/containers/create returned error: error while creating mount source path '/srv/x': mkdir /srv/x: read-only file system"

`
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p.wait()
	if got, _ := os.ReadFile(path); string(got) != text {
		t.Errorf("the log is %q", got)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "--share /srv/x") {
		t.Errorf("notes: %q", notes)
	}
	if !strings.Contains(p.lastError(), "creating mount source path") {
		t.Errorf("last error: %q", p.lastError())
	}
}

// What was written is looked at before catchUp returns, with or without the end of a line; what
// comes later is copied. The mark is not in the log.
func TestLogPumpCatchesUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	p, err := newLogPump(nil, path, Owner{os.Getuid(), os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	p.start(r, w, func(string) {}, func(line []byte) { seen = append(seen, string(line)) })
	write := func(text string) {
		t.Helper()
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n\nno end")
	p.catchUp()
	if want := []string{"first\n", "no end\n"}; !cmp.Equal(seen, want) {
		t.Errorf("seen: %q, want %q", seen, want)
	}
	write("later\n" + mark)
	p.wait()
	p.catchUp() // there is nothing to catch up with
	if got, _ := os.ReadFile(path); string(got) != "first\n\nno end\nlater\n"+mark {
		t.Errorf("the log is %q", got)
	}
	if len(seen) != 2 {
		t.Errorf("seen later: %q", seen[2:])
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := []byte(strings.Repeat("x", 1<<20))
	for range 3 * maxLog >> 20 {
		w, err := openRotated(path, Owner{os.Getuid(), os.Getgid()}) // the engine is started again
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(line); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	var total int64
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 2*maxLog {
		t.Errorf("the log takes %d bytes, more than %d", total, 2*maxLog)
	}
}

// A full log that cannot begin anew loses what is written until it can.
func TestLogGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := openRotated(path, Owner{os.Getuid(), os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.MkdirAll(path+".1/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, maxLog)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("lost")); err == nil {
		t.Error("a log that is full took more")
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("kept")); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "kept" {
		t.Errorf("the log is %.20q", got)
	}
}

func TestOutcomeKeepsTheErrorsIdentity(t *testing.T) {
	for _, err := range []error{fmt.Errorf("%w: x", ErrNameTaken), ErrNotFound, ErrRunning} {
		b, jsonErr := json.Marshal(newOutcome(err))
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		var o outcome
		if jsonErr := json.Unmarshal(b, &o); jsonErr != nil {
			t.Fatal(jsonErr)
		}
		if got := o.err(); got.Error() != err.Error() || !errors.Is(got, errors.Unwrap(err)) && !errors.Is(got, err) {
			t.Errorf("%v came back as %v", err, got)
		}
	}
	var spec *SpecError
	if err := newOutcome(&SpecError{"--mtu", "is 7"}).err(); !errors.As(err, &spec) || spec.Field != "--mtu" || spec.Problem != "is 7" {
		t.Errorf("came back as %v", err)
	}
}

func TestSweepAndOrphans(t *testing.T) {
	m := newManager(t)
	id := "dddddddddddd"
	if err := os.MkdirAll(filepath.Join(m.paths.Data(id), "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := m.GC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{id}, c.Engines); diff != "" {
		t.Error(diff)
	}
	left, err := os.ReadDir(m.paths.Trash())
	if err != nil || len(left) > 1 {
		t.Errorf("trash: %v, %v", left, err)
	}
}

func TestFaults(t *testing.T) {
	t.Setenv(EnvFault, "bundle:fail")
	f := faultFromEnv()
	if err := f.after("socket"); err != nil {
		t.Error(err)
	}
	if err := f.after("bundle"); err == nil {
		t.Error("the step did not fail")
	}
	names := StepNames()
	if names[0] != "payload" || names[len(names)-1] != "undo-allocate" {
		t.Errorf("steps: %v", names)
	}
}
