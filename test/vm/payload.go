package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/berth-dev/berth/test/vm/job"
)

// containerImage is berth's container image in the guest.
const containerImage = "berth-image.tar"

// makeContainerImage makes the image if a test is going to run it: out here that is quick.
func makeContainerImage(ctx context.Context, s settings, berth, out string, tests []job.Test) error {
	if !slices.ContainsFunc(tests, func(t job.Test) bool { return filepath.Base(t.Dir) == "dind" }) {
		return nil
	}
	if text, err := s.berth(ctx, berth, "image", "build", "-o", out).CombinedOutput(); err != nil {
		return fmt.Errorf("berth image build: %w\n%s", err, text)
	}
	return nil
}

// program is the berth under test.
func (s settings) program() string {
	if path := os.Getenv("BERTH"); path != "" {
		return path
	}
	return filepath.Join(s.Repo, "bin/berth")
}

// berth prepares the program to run out here, with directories of its own.
func (s settings) berth(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "BERTH_STATE_DIR="+filepath.Join(s.Cache, "state"), "BERTH_RUN_DIR="+filepath.Join(s.Cache, "run"))
	return cmd
}

// addPayload has berth unpack its payload, which takes a second out here and a minute in
// there, and returns where it is below the tree.
func addPayload(ctx context.Context, s settings, program, tree string) (string, error) {
	// A command that does not exist is looked for in the payload, and no engine started.
	text, err := s.berth(ctx, program, "run", "--", "no-such-command").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 127 {
		return "", fmt.Errorf("berth run: %w\n%s", err, text)
	}
	var version struct{ Payload string }
	text, err = s.berth(ctx, program, "version", "--json").Output()
	if err == nil {
		err = json.Unmarshal(text, &version)
	}
	if err != nil {
		return "", fmt.Errorf("berth version: %w", err)
	}
	from := filepath.Join(s.Cache, "state/payload", version.Payload)
	if out, err := exec.CommandContext(ctx, "cp", "-al", from, tree).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the payload: %w\n%s", err, out)
	}
	return version.Payload, nil
}
