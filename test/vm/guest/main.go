// Command guest makes the virtual machine fit for the tests, runs them, and reports
// through a virtio port (package job has the protocol). It is called by the machine's
// init: `guest boot` at first, when init is no systemd, and then `guest tests`. In a
// container it is `guest container`, and reports on standard output.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup/leaf"
	"github.com/berth-dev/berth/test/vm/job"
)

func main() {
	text, err := os.ReadFile(filepath.Join(job.Dir, job.File))
	var order job.Job
	if err == nil {
		err = json.Unmarshal(text, &order)
	}
	verb := append(os.Args[1:], "tests")[0]
	switch {
	case err != nil:
	case verb == "boot":
		err = boot(order)
	case verb == "container":
		err = inContainer(order)
	default:
		err = inMachine(order)
		powerOff()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err) // the console
		os.Exit(1)
	}
}

// report writes to the harness.
type report struct{ port *os.File }

func (r report) send(e job.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.port, "\n%s%s\n", job.Mark, text)
	return err
}

func inMachine(order job.Job) error {
	port, err := openPort()
	if err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: 1024, Max: 524288} // as systemd has it
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return tests(order, port, joinRoot) // each time: systemd takes away what none of its own units needs
}

// inContainer reports on standard output. The container's own group is made fit for groups
// below it once.
func inContainer(order job.Job) error {
	if err := leaf.Enter(); err != nil {
		return err
	}
	return tests(order, os.Stdout, func() error { return nil })
}

// tests runs the test binaries, each after prepare.
func tests(order job.Job, port *os.File, prepare func() error) error {
	r := report{port}
	if err := r.send(job.Event{Boot: state()}); err != nil {
		return err
	}
	var failed error
	for _, t := range order.Tests {
		failed = errors.Join(failed, r.send(job.Event{Package: t.Package}))
		status, err := 1, prepare()
		if err == nil {
			status, err = one(order, t, port)
		}
		if err != nil {
			failed = errors.Join(failed, r.send(job.Event{Error: err.Error()}))
		}
		failed = errors.Join(failed, r.send(job.Event{Ended: &job.Ended{Package: t.Package, Status: status}}))
	}
	return errors.Join(failed, r.send(job.Event{Done: true}))
}

// one runs a test binary and returns how it ended.
func one(order job.Job, t job.Test, port *os.File) (int, error) {
	cmd := exec.Command(t.Binary, t.Args...)
	cmd.Dir = t.Dir
	cmd.Env = append([]string{
		"PATH=" + job.Dir + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
	}, order.Env...)
	cmd.Stdout, cmd.Stderr = port, port
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// openPort finds the port by its name: without udev there are no links to it.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		if text, _ := os.ReadFile(file); strings.TrimSpace(string(text)) == job.Port {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("no virtio port %q among %v", job.Port, names)
}

// state describes the machine.
func state() *job.Boot {
	b := &job.Boot{}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		b.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	text, _ := os.ReadFile("/proc/uptime")
	fmt.Sscan(string(text), &b.Uptime)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 3:
		case f[1] == "/var":
			b.Data = f[2]
		case strings.HasPrefix(f[1], "/sys/fs/cgroup"):
			b.Cgroup = strings.TrimSpace(b.Cgroup + " " + f[2] + ":" + strings.TrimPrefix(f[1], "/sys/fs/cgroup"))
		}
	}
	return b
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
