// Package sandbox gives a test binary a little host of its own: pid, mount,
// network, uts and cgroup namespaces, with an uplink, empty /run, /tmp and
// /var/lib, and user files that may be edited.
//
// In it everything that exists was made by the tests, so that a leak is simply
// whatever is different afterwards; the machine's own settings cannot be harmed,
// other users of the machine cannot disturb, and nothing survives the tests'
// end, however they end.
//
// The binary runs itself three times:
//
//	outer   what `go test` started: makes a work directory, starts host, waits
//	  host    PID 1 of the new namespaces: mounts, uplink; reaps
//	    tests   runs the tests
//
// The package does not know berth, apart from the address range it avoids.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Environment variables by which the three tell each other apart.
const (
	envStage = "BERTH_TEST_STAGE"
	envWork  = "BERTH_TEST_WORK"
)

// EnvReal, when set to anything, makes Run use the machine as it is.
const EnvReal = "BERTH_TEST_REAL_HOST"

// Run calls tests in a sandbox and returns their exit status. It has to be the
// first thing that the process does (the same process image passes here in each
// role).
func Run(tests func() int) int {
	if os.Getenv(EnvReal) != "" || os.Getenv(envStage) == "tests" {
		return tests()
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start real engines and need root: run them with sudo")
		return 1
	}
	var status int
	var err error
	if os.Getenv(envStage) == "host" {
		status, err = host(os.Getenv(envWork))
	} else {
		status, err = outer()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return status
}

// Active tells whether the calling process runs in a sandbox.
func Active() bool { return os.Getenv(envStage) == "tests" }

// Outside tells whether the calling process is the one that was started from
// outside, where the machine's own network is still at hand.
func Outside() bool { return os.Getenv(envStage) == "" }

func outer() (int, error) {
	work, err := os.MkdirTemp("/var/tmp", "berth-test-")
	if err != nil {
		return 1, err
	}
	groups, err := makeCgroups(filepath.Base(work))
	defer func() {
		groups.remove()
		os.RemoveAll(work)
	}()
	if err != nil {
		return 1, err
	}
	runtime.LockOSThread() // the parent-death signal belongs to this thread
	defer runtime.UnlockOSThread()
	cmd := again("host", os.Args[1:])
	cmd.Env = append(cmd.Env, envWork+"="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	stop := forward(cmd.Process)
	defer stop()
	return status(cmd.Wait())
}

// again prepares this program to run in another role. The go command's log of
// files read is for the outer process's directories only.
func again(stage string, args []string) *exec.Cmd {
	var kept []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-test.testlogfile") {
			kept = append(kept, arg)
		}
	}
	cmd := exec.Command("/proc/self/exe", kept...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envStage+"="+stage)
	return cmd
}

// forward passes the signals that ask a test binary to stop to the process.
func forward(process *os.Process) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for s := range signals {
			process.Signal(s)
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}

func status(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
