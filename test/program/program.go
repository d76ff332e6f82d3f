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

// EnvPayload names a directory that holds the payload of the program under test, unpacked.
// Machines with emulated processors get it that way: to check it takes a fifth of the time.
const EnvPayload = "BERTH_TEST_PAYLOAD"

// payloads is where berth keeps its own.
const payloads = "/var/lib/berth/payload"

// UsePayload gives berth the payload that [EnvPayload] names, if any.
func UsePayload() error {
	from := os.Getenv(EnvPayload)
	if from == "" {
		return nil
	}
	if err := os.MkdirAll(payloads, 0o711); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", from, payloads).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the payload: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// WarmUp runs an engine, for which the payload is unpacked or checked, then each of the
// commands, and collects: berth's directories and locks are there afterwards, and a test
// that compares before and after does not take them for its own.
func WarmUp(path string, commands ...[]string) error {
	if err := UsePayload(); err != nil {
		return err
	}
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
