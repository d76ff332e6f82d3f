// Command docker-sdk is a program that uses the standard Docker SDK and knows nothing of
// berth: it pulls the image it is given, runs it, and prints what it prints.
//
//	sudo berth run -- docker-sdk registry.example/app:1
//
// There is no sleep in it: when the pull's stream has been read to its end, the image can
// be used.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docker-sdk IMAGE")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "docker-sdk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, image string) error {
	docker, err := client.New(client.FromEnv) // DOCKER_HOST; the API version is negotiated
	if err != nil {
		return err
	}
	defer docker.Close()
	pull, err := docker.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	if err := pull.Wait(ctx); err != nil { // reads to the end, and finds an error in it
		return err
	}
	c, err := docker.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: image}})
	if err != nil {
		return err
	}
	defer docker.ContainerRemove(context.WithoutCancel(ctx), c.ID, client.ContainerRemoveOptions{Force: true})
	wait := docker.ContainerWait(ctx, c.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := docker.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	select {
	case err := <-wait.Error:
		return err
	case result := <-wait.Result:
		if result.StatusCode != 0 {
			defer fmt.Fprintln(os.Stderr, "exit status", result.StatusCode)
		}
	}
	logs, err := docker.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = stdcopy.StdCopy(os.Stdout, os.Stderr, logs)
	return err
}
