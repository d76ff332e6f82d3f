// Package systemd tests berth on a host that systemd runs: its units, and networkd,
// resolved and an nftables ruleset beside it.
//
// The tests change the machine that they run on, and want one that is thrown away
// afterwards: a virtual machine of ../, with INIT=systemd. Elsewhere they are skipped.
package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/image"
	"github.com/berth-dev/berth/test/program"
)

// envThrowAway says that the machine is thrown away after the tests.
const envThrowAway = "BERTH_TEST_THROWAWAY"

// units is where the units of the repository are, seen from here.
const units = "../../../deploy/systemd"

const imageName = "berth.test/busy:1"

var (
	imageTar string
	problem  string // why the tests cannot run here
)

func TestMain(m *testing.M) {
	switch _, err := os.Stat("/run/systemd/system"); {
	case os.Getenv(envThrowAway) == "":
		problem = "changes the host's settings: runs in a virtual machine only"
	case err != nil:
		problem = "this machine's init is not systemd"
	default:
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "systemd:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func needsSystemd(t *testing.T) {
	t.Helper()
	if problem != "" {
		t.Skip(problem)
	}
}

// setUp installs berth and its units as deploy/systemd/README.md says, and has it take its
// payload.
func setUp() error {
	const dropIns = "/etc/systemd/system/berth@.service.d"
	for _, dir := range []string{"/etc/default", "/etc/systemd/network", "/usr/local/bin", dropIns} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink(os.Getenv("BERTH"), "/usr/local/bin/berth"); err != nil {
		return err
	}
	for _, name := range []string{"berth@.service", "berth.slice"} {
		text, err := os.ReadFile(filepath.Join(units, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile("/etc/systemd/system/"+name, text, 0o644); err != nil {
			return err
		}
	}
	slow := fmt.Sprintf("[Service]\nTimeoutStartSec=%.0f\n", deadline.Scaled(2*time.Minute).Seconds())
	if err := os.WriteFile(dropIns+"/slow.conf", []byte(slow), 0o644); err != nil {
		return err
	}
	img, err := image.Build(image.Options{})
	if err != nil {
		return err
	}
	imageTar = "/var/tmp/berth-image.tar"
	if err := image.SaveTar(imageTar, imageName, img); err != nil {
		return err
	}
	if err := program.UsePayload(); err != nil {
		return err
	}
	for _, args := range [][]string{{"systemctl", "daemon-reload"}, {"berth", "run", "--", "true"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

// try runs a command and returns its output, whatever it is.
func try(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = "/"
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// must is try that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(args...)
	if err != nil {
		journal, _ := try("journalctl", "--no-pager", "-n", "40")
		t.Fatalf("%v: %v: %s\n%s", args, err, out, journal)
	}
	return out
}

// docker runs the bundled CLI against an engine.
func docker(t *testing.T, engine string, args ...string) string {
	t.Helper()
	return must(t, append([]string{"berth", "docker", "--engine", engine}, args...)...)
}

// property reads one of a unit's.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return must(t, "systemctl", "show", "--value", "-p", name, unit)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline.Scaled(10 * time.Second)); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			journal, _ := try("journalctl", "--no-pager", "-n", "40")
			t.Fatalf("waited in vain: %s\n%s", what, journal)
		}
	}
}

// unit starts an engine's unit, which is gone with all its data when the test ends.
func unit(t *testing.T, name, flags string) string {
	t.Helper()
	needsSystemd(t)
	if err := os.WriteFile("/etc/default/berth-"+name, []byte("BERTH_FLAGS="+flags+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		must(t, "systemctl", "stop", "berth@"+name)
		must(t, "berth", "rm", "-f", name)
		if out := must(t, "berth", "ls"); strings.Contains(out, name) {
			t.Errorf("left: %s", out)
		}
	})
	must(t, "systemctl", "start", "berth@"+name)
	return "berth@" + name
}
