// Command berth gives every job its own Docker engine. See `berth --help`.
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/berth-dev/berth/internal/cli"
)

func main() {
	if os.Getpid() == 1 {
		// A container's first process becomes another program. When another thread than the first does
		// that, who joins the container meanwhile (a probe) finds the process without namespaces.
		runtime.LockOSThread()
	}
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(context.Background(), streams, os.Args[1:]))
}
