package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
)

// converter turns a test binary's output into events, by Go's own program for that.
type converter struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan error
}

func newConverter(ctx context.Context, pkg string, take func(event) error) (*converter, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", pkg)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &converter{cmd, in, make(chan error, 1)}
	go func() { c.done <- decode(out, take) }()
	return c, nil
}

func decode(from io.Reader, take func(event) error) error {
	d := json.NewDecoder(from)
	for {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := take(e); err != nil {
			return err
		}
	}
}

func (c *converter) write(line string) error {
	_, err := io.WriteString(c.in, line)
	return err
}

func (c *converter) close() error {
	err := c.in.Close()
	return errors.Join(err, <-c.done, c.cmd.Wait())
}
