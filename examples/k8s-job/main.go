// Command k8s-job is the client of a pod that `berth kube job` makes. It pulls an image in
// the pod's engine, runs it, saves it to an archive and removes it:
//
//	CGO_ENABLED=0 go build -o k8s-job ./k8s-job
//	printf 'FROM scratch\nCOPY k8s-job /k8s-job\nENTRYPOINT ["/k8s-job"]\n' | docker build -t registry.example/k8s-job -f - .
//	berth kube job --name k8s-job --client-image registry.example/k8s-job --registry-ca registry.example=ca.crt \
//	  -- /k8s-job registry.example/app:1 /workspace/app.tar | kubectl apply -f -
//
// The pod says where the engine is (DOCKER_HOST), and Kubernetes starts this program when
// the engine can be used: it waits for nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/berth-dev/berth"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: k8s-job IMAGE ARCHIVE")
		os.Exit(2)
	}
	// Kubernetes ends a pod with SIGTERM.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "k8s-job:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, ref, archive string) error {
	engine, err := berth.FromEnv()
	if err != nil {
		return err
	}
	defer engine.Close(context.WithoutCancel(ctx))
	image, err := engine.Pull(ctx, ref)
	if err != nil {
		return err
	}
	fmt.Println("pulled", image.ID)
	if _, err := engine.Output(ctx, image.ID, nil, berth.WithOutput(os.Stdout, os.Stderr)); err != nil {
		return err
	}
	if err := save(ctx, engine, ref, archive); err != nil {
		return err
	}
	if err := engine.RemoveImage(ctx, ref, false); err != nil {
		return err
	}
	left, err := engine.Images(ctx)
	if err != nil {
		return err
	}
	fmt.Println(len(left), "images left")
	return nil
}

func save(ctx context.Context, engine *berth.Engine, ref, archive string) (err error) {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := engine.Save(ctx, f, ref); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	fmt.Println("saved", size, "bytes to", archive)
	return nil
}
