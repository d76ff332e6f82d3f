// Command berth-sdk does what docker-sdk does with package berth, in an engine of its own:
//
//	sudo -E berth-sdk registry.example/app:1
//
// With -ca and -host it reaches a private registry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/berth-dev/berth"
)

func main() {
	ca := flag.String("ca", "", "HOST=FILE: trust the certificates in FILE for a registry")
	host := flag.String("host", "", "NAME=ADDRESS: a name that the engine resolves")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	err := run(ctx, flag.Arg(0), *ca, *host)
	var exit *berth.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.Code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth-sdk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, image, ca, host string) error {
	var opts []berth.Option
	if registry, file, ok := strings.Cut(ca, "="); ok {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		opts = append(opts, berth.WithRegistryCA(registry, pem))
	}
	if name, address, ok := strings.Cut(host, "="); ok {
		opts = append(opts, berth.WithHost(name, address))
	}
	e, err := berth.Start(ctx, opts...)
	if err != nil {
		return err
	}
	defer e.Close(context.WithoutCancel(ctx))
	img, err := e.Pull(ctx, image, berth.WithProgressTo(os.Stderr))
	if err != nil {
		return err
	}
	_, err = e.Output(ctx, img.ID, nil, berth.WithOutput(os.Stdout, os.Stderr))
	return err
}
