package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-dev/berth/internal/engine"
)

// machine has one engine of each kind.
func machine() *fakeEngines {
	return &fakeEngines{all: []engine.Info{
		{ID: "aaaaaaaaaaaa", Name: "web", Status: engine.StatusRunning, Socket: "/run/berth/web's.sock", Created: time.Now().Add(-time.Hour),
			Spec: engine.Spec{Isolation: engine.IsolationUserNS, Limits: engine.Limits{Memory: 1 << 30}}},
		{ID: "bbbbbbbbbbbb", Name: "old", Status: engine.StatusStopped},
	}}
}

// On a machine with many engines of a kind, an error stays a line that can be read.
func TestFewSuggestions(t *testing.T) {
	f := &fakeEngines{}
	for _, name := range []string{"job1", "job2", "job3", "job4", "job5"} {
		f.all = append(f.all, engine.Info{ID: name, Name: name})
	}
	if _, _, stderr := invoke(t, f, "inspect", "job"); !strings.Contains(stderr, "did you mean job1 or job2 or job3?") {
		t.Errorf("suggested: %q", stderr)
	}
}

// Of an engine whose monitor was killed, berth says what becomes of it.
func TestKilledEngines(t *testing.T) {
	f := &fakeEngines{all: []engine.Info{
		{ID: "cccccccccccc", Name: "kept", Status: engine.StatusDead, Spec: engine.Spec{Keep: true}},
		{ID: "dddddddddddd", Name: "lost", Status: engine.StatusDead},
	}, collected: engine.Collected{Engines: []string{"dddddddddddd"}, Kept: []string{"kept"}}}
	for args, want := range map[string]string{
		"exec kept -- true": "engine kept is stopped, for its monitor was killed; start it with `berth start kept`",
		"exec lost -- true": "engine lost is dead; `berth gc` removes it",
		"gc":                "engine kept is stopped now\nremoved engine dddddddddddd\n",
		"gc --json":         `{"engines":["dddddddddddd"],"kept_engines":["kept"]}`,
	} {
		if _, out, errOut := invoke(t, f, strings.Fields(args)...); !strings.Contains(out+errOut, want) {
			t.Errorf("berth %s: %q, %q; want %q", args, out, errOut, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		stderr string // part of it
	}{
		{"run", 2, "run needs a command"},
		{"run --memory 4m -- true", 2, "give at least 64m"},
		{"run --pids -1 -- true", 2, "--pids: -1"},
		{"run --cpus 0.001 -- true", 2, "--cpus: 0.001"},
		{"run --cpus 1e9 -- true", 2, "no machine"},
		{"run --mtu 100 -- true", 2, "--mtu"},
		{"run --add-host -a:10.0.0.1 -- true", 2, "not a host name"},
		{"run --add-host a=b:10.0.0.1 -- true", 2, "--add-host"},
		{"run --net bridge -- true", 2, "there are veth and none"},
		{"run --name Web -- true", 2, "name"},
		{"run --share /no/such/thing -- true", 2, "no such file"},
		{"run --share / -- true", 2, "cannot be shared"},
		{"run --user nobody-of-that-name -- true", 2, "no user"},
		{"run --cgroup-parent slice -- true", 2, `--cgroup-parent: "slice" is neither own`},
		{"run --cgroup-parent /a/../b -- true", 2, "--cgroup-parent"},
		{"run --cgroup-parent / -- true", 2, "--cgroup-parent"},
		{"up --pidfile /no/such/dir/x.pid x", 125, "--pidfile: open /no/such/dir"},
		{"run --isolation vm -- true", 2, "neither userns nor rootful"},
		{"run -- no-such-command-anywhere", 127, "not found"},
		{"run -- /etc/passwd", 126, "permission denied"},
		{"run -- /etc", 126, "is a directory"},
		{"run -- /no/such", 127, "no such file"},
		{"up --net host x", 2, "--net host"},
		{"up a b", 2, `unexpected argument "b"`},
		{"inspect", 2, "inspect needs the name"},
		{"inspect wbe", 125, "did you mean web?"},
		{"inspect zzzzzz", 125, "`berth ls`"},
		{"exec old -- true", 125, "engine old is stopped; start it with `berth start old`"},
		{"exec web --", 2, "exec needs a command"},
		{"stop -t -1 web", 2, "--time -1"},
		{"logs --tail -3 web", 2, "--tail -3"},
		{"docker --engine", 2, "--engine needs"},
		{"env", 2, "env needs the name"},
		{"lss", 2, "(did you mean ls or logs?)"},
		{"ls --json -q", 2, "json"},
	} {
		f := machine()
		status, out, stderr := invoke(t, f, strings.Fields(test.args)...)
		if status != test.status || !strings.Contains(stderr, test.stderr) {
			t.Errorf("berth %s: status %d, stderr %q; want %d, %q", test.args, status, stderr, test.status, test.stderr)
		}
		if n := strings.Count(stderr, "\n"); n != 1 || !strings.HasPrefix(stderr, "berth: ") {
			t.Errorf("berth %s: stderr is not one line that begins with berth: %q", test.args, stderr)
		}
		if out != "" || f.started != nil {
			t.Errorf("berth %s: printed %q, started %v", test.args, out, f.started)
		}
	}
}

func TestEnv(t *testing.T) {
	_, out, _ := invoke(t, machine(), "env", "web")
	want := `export DOCKER_HOST='unix:///run/berth/web'\''s.sock'
export BERTH_ENGINE='aaaaaaaaaaaa'
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_TLS
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListings(t *testing.T) {
	_, out, _ := invoke(t, machine(), "ls")
	want := `ID             NAME   STATUS    ISOLATION   AGE            MEMORY LIMIT
aaaaaaaaaaaa   web    running   userns      about an hour   1GiB
bbbbbbbbbbbb   old    stopped   -           -              -
`
	if got := strings.Fields(out); !cmp.Equal(got, strings.Fields(want)) {
		t.Errorf("ls printed\n%s", out)
	}
	if _, out, _ = invoke(t, machine(), "ls", "-q"); out != "aaaaaaaaaaaa\nbbbbbbbbbbbb\n" {
		t.Errorf("ls -q printed %q", out)
	}
	_, out, _ = invoke(t, machine(), "ls", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("ls --json printed %q", out)
	}
	var got struct {
		ID, Name, Status, Socket string
		DockerHost               string `json:"docker_host"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || got.Name != "web" || got.DockerHost != "unix://"+got.Socket {
		t.Errorf("ls --json: %+v, %v", got, err)
	}
}

func TestUpJSON(t *testing.T) {
	status, out, stderr := invoke(t, machine(), "up", "ci", "--json", "--memory", "1g", "--no-share-cwd")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "name", "status", "socket", "docker_host", "owner", "created"} {
		if _, ok := got[key]; !ok {
			t.Errorf("up --json has no %q: %s", key, out)
		}
	}
}

func TestRemoveGoesOn(t *testing.T) {
	f := machine()
	status, out, stderr := invoke(t, f, "rm", "web", "nothing", "old")
	if status != 125 || out != "web\nold\n" || !strings.Contains(stderr, "nothing") {
		t.Errorf("status %d, out %q, stderr %q", status, out, stderr)
	}
	if diff := cmp.Diff([]string{"aaaaaaaaaaaa", "bbbbbbbbbbbb"}, f.removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if status, _, stderr := invoke(t, machine(), "rm", "-f", "nothing"); status != 0 || stderr != "" {
		t.Errorf("rm -f: status %d, %q", status, stderr)
	}
}

func TestShellArguments(t *testing.T) {
	for args, want := range map[string]int{"shell web": 1, "shell web -- ps aux": 2, "shell web ls -l /": 3} {
		if status, _, stderr := invoke(t, machine(), strings.Fields(args)...); status != want {
			t.Errorf("berth %s ran %d words; want %d (%s)", args, status, want, stderr)
		}
	}
}

func TestDockerPicksEngine(t *testing.T) {
	t.Setenv("BERTH_ENGINE", "")
	f := machine()
	f.all[1].Status = engine.StatusRunning
	if status, _, stderr := invoke(t, f, "docker", "ps"); status != 125 || !strings.Contains(stderr, "web, old") {
		t.Errorf("two engines: status %d, %q", status, stderr)
	}
	f.all = nil
	if status, _, stderr := invoke(t, f, "docker", "ps"); status != 125 || !strings.Contains(stderr, "berth up") {
		t.Errorf("no engine: status %d, %q", status, stderr)
	}
}

func TestEveryVerbHasHelpAndExample(t *testing.T) {
	a := &app{}
	for _, verb := range a.root().Commands() {
		if verb.Hidden || verb.Name() == "help" || verb.Name() == "completion" {
			continue
		}
		if verb.Short == "" || !strings.Contains(verb.Example, "berth "+verb.Name()) {
			t.Errorf("berth %s: help without a summary or an example of itself", verb.Name())
		}
	}
}
