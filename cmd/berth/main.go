// Command berth gives every job its own Docker engine. See `berth --help`.
package main

import (
	"context"
	"os"

	"github.com/berth-dev/berth/internal/cli"
)

func main() {
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(context.Background(), streams, os.Args[1:]))
}
