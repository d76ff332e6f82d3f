package berth

import (
	"bytes"
	"context"
	"errors"
)

// Output is what a command wrote.
type Output struct {
	Stdout, Stderr []byte
}

const keptStderr = 1 << 10 // bytes that an ExitError holds

// Output runs a container to its end and removes it. A status other than 0 is an
// [*ExitError], beside what the command wrote. Options may send the output elsewhere.
func (e *Engine) Output(ctx context.Context, image string, cmd []string, opts ...RunOption) (Output, error) {
	var stdout, stderr bytes.Buffer
	c, err := e.Run(ctx, image, cmd, append([]RunOption{WithOutput(&stdout, &stderr)}, opts...)...)
	if err != nil {
		return Output{}, err
	}
	err = c.Wait(ctx)
	if ctx.Err() != nil {
		err = canceled(ctx, "run", image)
	}
	removeErr := c.Remove(context.WithoutCancel(ctx))
	out := Output{stdout.Bytes(), stderr.Bytes()}
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Stderr = string(out.Stderr[max(0, len(out.Stderr)-keptStderr):])
		return out, err
	}
	return out, errors.Join(err, removeErr)
}
