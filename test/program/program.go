// Package program is the berth program under test: where it is, and what has to be done with
// it before any test. It knows nothing of engines.
package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Find returns the absolute path of the program: BERTH names it, else `make build` has made
// it, two directories above the test. Variables by which whoever runs the tests could have
// berth use their own directories, engine or user are taken out of the environment.
func Find() (string, error) {
	for _, name := range []string{"BERTH_STATE_DIR", "BERTH_RUN_DIR", "DOCKER_HOST", "SUDO_UID", "SUDO_GID", "SUDO_USER"} {
		os.Unsetenv(name)
	}
	path := os.Getenv("BERTH")
	if path == "" {
		path = "../../bin/berth"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w; build it with `make build`, or set BERTH", err)
	}
	return path, nil
}

// WarmUp runs an engine, which unpacks the payload, then each of the commands, and collects:
// berth's directories and locks are there afterwards, and a test that compares before and
// after does not take them for its own.
func WarmUp(path string, commands ...[]string) error {
	for _, args := range append(append([][]string{{"run", "--", "true"}}, commands...), []string{"gc"}) {
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("berth %s failed, so nothing else can work: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return os.MkdirAll("/run/mount", 0o755) // mount(8) makes it and leaves it
}

// Output collects what a program writes, and can be read meanwhile.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
