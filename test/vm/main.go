// Command vm runs the integration tests in a virtual machine: another kernel, another
// cgroup version, another init, another file system than the machine's own; or in a container.
//
// Kernel and root file system are Debian packages, unpacked and not installed, and kept in
// .cache/vm by content. What it is told comes from the environment (see package-level type
// settings); `make test-vm` and `make test-matrix` call it.
//
//	vm run        run the tests in one virtual machine
//	vm container  run the tests in a container of an engine on this machine
//	vm matrix     run them in the useful combinations, one after the other
//	vm record     read `go test -json` from stdin, print it for people, keep it for the table
//	vm table      print test × environment from what has been kept
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread() // children are told of the death of this thread
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	verb := "run"
	if len(args) > 0 {
		verb = args[0]
	}
	s, err := settingsFrom(os.Getenv)
	if err != nil {
		return err
	}
	switch verb {
	case "run":
		return runOne(ctx, s)
	case "container":
		return runContainer(ctx, s)
	case "matrix":
		return runMatrix(ctx, s)
	case "record":
		return record(s, os.Stdin, os.Stdout)
	case "table":
		return printTable(s, os.Stdout)
	}
	return fmt.Errorf("unknown verb %q; run, container, matrix, record or table", verb)
}
