package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/vm/job"
	"github.com/berth-dev/berth/test/vm/machine"
)

// suite is a package whose tests run in the guest.
type suite struct {
	module string // directory of its module in the repository
	dir    string // its directory in the module
	apart  bool   // not among the core tests, whatever its tests are called
}

// suites are run in this order.
var suites = []suite{
	{dir: "internal/cgroup"},
	{dir: "internal/cgroup/leaf"},
	{dir: "internal/pid1"},
	{dir: "internal/network/veth"},
	{dir: "internal/disklimit"},
	{module: "test", dir: "leak"},
	{module: "test", dir: "sandbox"},
	{module: "test", dir: "vm/systemd"},
	{module: "test", dir: "integration"},
	{module: "test", dir: "snapshot", apart: true},
	{module: "test", dir: "dind"},
}

const module = "github.com/berth-dev/berth"

func (u suite) path() string { return filepath.Join(u.module, u.dir) }

// name is the binary's.
func (u suite) name() string { return filepath.Base(u.dir) + ".test" }

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)

// has tells whether the package has tests that RUN selects: to find that out by starting
// them is dear, as some prepare a lot before the first.
func (u suite) has(s settings) (bool, error) {
	if u.apart && s.Run == core {
		return false, nil
	}
	top, _, _ := strings.Cut(s.Run, "/")
	selects, err := regexp.Compile(top)
	if err != nil {
		return false, fmt.Errorf("RUN: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(s.Repo, u.path(), "*_test.go"))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			if name := string(m[1]); name != "TestMain" && selects.MatchString(name) {
				return true, nil
			}
		}
	}
	return false, nil
}

// selected are the suites that have a test for the settings to run.
func (s settings) selected() (found []suite, err error) {
	for _, u := range suites {
		wanted, err := u.has(s)
		if err != nil {
			return nil, err
		}
		if wanted {
			found = append(found, u)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("RUN=%s: no test has such a name", s.Run)
	}
	return found, nil
}

// makeWork makes the work disk.
func makeWork(ctx context.Context, s settings, image string, scale int) error {
	tree := image + ".tree"
	defer os.RemoveAll(tree)
	if err := makeTree(ctx, s, tree, scale); err != nil {
		return err
	}
	return machine.Image(ctx, image, tree, 16)
}

// makeTree makes a directory with berth, the test binaries and the job, in the places where
// the repository has them.
func makeTree(ctx context.Context, s settings, tree string, scale int) error {
	for _, dir := range []string{"bin", ".cache/test", "test/probe"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	berth := s.program()
	if err := link(berth, filepath.Join(tree, "bin/berth")); err != nil {
		return fmt.Errorf("%w; `make build` makes berth", err)
	}
	unpacked, err := addPayload(ctx, s, berth, tree)
	if err != nil {
		return err
	}
	tests, err := compile(ctx, s, tree)
	if err != nil {
		return err
	}
	if s.Shell != "" {
		tests = []job.Test{{Package: module + "/command", Binary: "/bin/bash", Args: []string{"-c", s.Shell}, Dir: "/"}}
	}
	if err := makeContainerImage(ctx, s, berth, filepath.Join(tree, containerImage), tests); err != nil {
		return err
	}
	order := job.Job{
		Cgroup: s.Cgroup, Init: s.Init, FS: s.FS, Tests: tests,
		Env: []string{
			"BERTH=" + job.Dir + "/bin/berth", "BERTH_TEST_BUSYBOX=/usr/bin/busybox", "BERTH_TEST_PROBE=" + job.Dir + "/bin/probe",
			"BERTH_TEST_THROWAWAY=1", fmt.Sprintf("%s=%d", deadline.EnvScale, scale), "BERTH_TEST_ENVIRONMENT=" + s.name(),
			"BERTH_TEST_IMAGE=" + job.Dir + "/" + containerImage, program.EnvPayload + "=" + filepath.Join(job.Dir, unpacked),
		},
	}
	text, err := json.MarshalIndent(order, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, job.File), text, 0o644); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(tree, "deploy/systemd"), os.DirFS(filepath.Join(s.Repo, "deploy/systemd"))); err != nil {
		return err
	}
	return os.Symlink(dockerDir, filepath.Join(tree, ".cache/test/docker.io"))
}

// link makes a file appear at another place without copying it, where possible.
func link(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// builtAlready stands for the go command in the guest, where the suite would build its probe.
const builtAlready = `#!/bin/sh
[ "$1 $2 $3" = "build -trimpath -o" ] && [ "$5" = ../probe ] && exec cp "$BERTH_TEST_PROBE" "$4"
echo "there is no go command in this machine" >&2
exit 1
`

// compile builds the guest, the probe and the test binaries; a package without tests is
// left out.
func compile(ctx context.Context, s settings, tree string) ([]job.Test, error) {
	say("compiling the tests")
	test := filepath.Join(s.Repo, "test")
	for from, to := range map[string]string{"./vm/guest": job.Guest, "./probe": "/bin/probe"} {
		if err := golang(ctx, test, "build", "-trimpath", "-ldflags=-s -w", "-o", tree+to, from); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "bin/go"), []byte(builtAlready), 0o755); err != nil {
		return nil, err
	}
	var tests []job.Test
	wanted, err := s.selected()
	if err != nil {
		return nil, err
	}
	for _, u := range wanted {
		binary := filepath.Join(tree, "bin", u.name())
		if err := golang(ctx, filepath.Join(s.Repo, u.module), "test", "-c", "-ldflags=-s -w", "-o", binary, "./"+u.dir); err != nil {
			return nil, err
		}
		if _, err := os.Stat(binary); errors.Is(err, os.ErrNotExist) {
			continue // no tests
		}
		if err := os.MkdirAll(filepath.Join(tree, u.path()), 0o755); err != nil {
			return nil, err
		}
		args := []string{"-test.v=test2json", "-test.paniconexit0", "-test.timeout=0"}
		if s.Run != "" {
			args = append(args, "-test.run="+s.Run)
		}
		if s.Skip != "" {
			args = append(args, "-test.skip="+s.Skip)
		}
		tests = append(tests, job.Test{
			Package: module + "/" + u.path(), Binary: job.Dir + "/bin/" + u.name(), Dir: filepath.Join(job.Dir, u.path()), Args: args,
		})
	}
	return tests, nil
}

// golang runs the go command for a static program.
func golang(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, out)
	}
	return nil
}
