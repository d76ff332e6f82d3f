package berth

import (
	"context"
	"errors"
	"strings"
	"time"
)

// explanationTime bounds the wait for berth's own look at a registry's certificate, which
// itself takes two seconds at most.
const explanationTime = 3 * time.Second

// explained adds to an error about a certificate who issued it, which dockerd does not tell:
// the engine's berth process looks, and says so as an event, once for each registry. Other
// errors stay as they are, and so does one about which nothing comes.
func (e *Engine) explained(ctx context.Context, err error, registry string) error {
	var own *Error
	if e.process == nil || !errors.Is(err, ErrUntrusted) || !errors.As(err, &own) {
		return err
	}
	if registry == "docker.io" {
		registry = "registry-1.docker.io" // its address
	}
	ctx, cancel := context.WithTimeout(ctx, explanationTime)
	defer cancel()
	for event := range e.Events(ctx) {
		if why, ok := strings.CutPrefix(event.Text, registry+": "); ok {
			why, _, _ = strings.Cut(why, "; give ") // flags; what a program does is in the hint
			more := *own
			more.Reason = registry + ": " + why
			return &more
		}
	}
	return err
}
