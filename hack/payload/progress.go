package main

import (
	"fmt"
	"os"
	"time"
)

// stillEvery is how often a long step says that it is still at work.
const stillEvery = 15 * time.Second

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "payload: "+format+"\n", args...)
}

func elapsed(start time.Time) string { return time.Since(start).Round(100 * time.Millisecond).String() }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// during says what is done to which component, then every stillEvery how long it has
// taken, until do returns.
func during(component, what string, do func() error) error {
	start := time.Now()
	say("%-12s %s", component, what)
	ticker := time.NewTicker(stillEvery)
	defer ticker.Stop()
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			say("%-12s %s, %s", component, what, time.Since(start).Round(time.Second))
		}
	}
}
