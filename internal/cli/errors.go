package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

// Exit statuses of berth itself; those for a command that cannot be run are in
// internal/command.
const (
	statusUsage   = 2
	statusFailure = 125
)

// statusPipe is what a shell shows for a program whose reader has gone away.
const statusPipe = 128 + int(syscall.SIGPIPE)

// usageError is a mistake in what the user typed.
type usageError struct {
	verb string // how the verb is called, as "berth run"
	err  error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see `%s --help`", e.err, e.verb)
}
func (e *usageError) Unwrap() error { return e.err }

// usage returns a usage error of a verb.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
}

// statusError ends berth with a command's own status, without a word.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// withStatus is nil for status 0.
func withStatus(status int) error {
	if status == 0 {
		return nil
	}
	return statusError(status)
}

func isStatus(err error) bool { return errors.As(err, new(statusError)) }

// verdict turns an error into an exit status and the line to print, which may be empty.
func verdict(err error) (int, string) {
	var (
		status      statusError
		typed       *usageError
		spec        *engine.SpecError
		lookup      *command.LookupError
		interrupted *command.Interrupted
	)
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &status):
		return int(status), ""
	case errors.As(err, &typed), errors.As(err, &spec):
		return statusUsage, err.Error()
	case errors.As(err, &lookup):
		return lookup.Status, err.Error()
	case errors.As(err, &interrupted):
		return interrupted.Status(), err.Error()
	case errors.Is(err, syscall.EPIPE):
		return statusPipe, ""
	default:
		return statusFailure, err.Error()
	}
}

// oneLine joins the lines of a message that a program below has made.
func oneLine(message string) string {
	lines := strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	// Some of it is a registry's, or dockerd's: it is not for the terminal to obey.
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.Join(lines, "; "))
}

// exactly and atLeast check how many arguments a verb got; what names them.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < n:
			return usage(cmd, "%s needs %s", cmd.Name(), what)
		case len(args) > n:
			return usage(cmd, "unexpected argument %q", args[n])
		}
		return nil
	}
}

func atLeast(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usage(cmd, "%s needs %s", cmd.Name(), what)
		}
		return nil
	}
}

func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := atLeast(least, what)(cmd, args); err != nil {
			return err
		}
		return atMost(most)(cmd, args)
	}
}

func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, "unexpected argument %q", args[n])
		}
		return nil
	}
}
