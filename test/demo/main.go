// Command demo shows berth's main job on real input: a private registry with a
// certificate of its own, and one command with its own Docker engine that pulls
// from it, runs, builds, saves to a tar in the current directory and removes
// everything. Then it shows that the host has no trace of the engine.
//
// It exits with 0 only if every step worked, the archive is a good image that
// belongs to the invoking user, and the host is as it was before.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	dir := flag.String("dir", ".", "where the archive goes")
	program := flag.String("berth", os.Getenv("BERTH"), "the berth program (default $BERTH, else ../bin/berth)")
	flag.Parse()
	if *program == "" {
		*program = "../bin/berth"
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo:", asRoot())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *program, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// asRoot replaces this process by the same under sudo; it returns only if that
// is not possible.
func asRoot() error {
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return fmt.Errorf("an engine needs root, and there is no sudo: run this as root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Println("berth needs root to start an engine: asking sudo")
	args := append([]string{"sudo", "--preserve-env=BERTH,BERTH_RUN_DIR,BERTH_STATE_DIR,BERTH_TEST_BUSYBOX", "--", self}, os.Args[1:]...)
	return syscall.Exec(sudo, args, os.Environ())
}
