package leak

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
)

// How long a test's leftovers may take to go. Ending a process and freeing its
// namespaces is not instant in the kernel; deleting a large data root is done
// off the caller's path on purpose.
var (
	kernelGrace = deadline.Scaled(2 * time.Second)
	trashGrace  = deadline.Scaled(20 * time.Second)
)

// Guard takes a snapshot now and, when the test and its other clean-ups are
// over, fails the test with a list of whatever differs.
func Guard(t testing.TB, scope Scope) {
	t.Helper()
	before, err := Take(scope)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		differences, err := Settle(context.Background(), before, scope)
		if err != nil {
			t.Error(err)
		}
		if len(differences) > 0 {
			t.Errorf("the test left the machine changed:\n  %s", strings.Join(Shorten(differences), "\n  "))
		}
	})
}

// Settle compares with before until nothing differs or the time allowed for what
// still differs is over, and returns what is left.
func Settle(ctx context.Context, before Snapshot, scope Scope) ([]string, error) {
	start := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		after, err := Take(scope)
		if err != nil {
			return nil, err
		}
		differences := Compare(before, after)
		if len(differences) == 0 || time.Since(start) > grace(differences) {
			return differences, nil
		}
		select {
		case <-ctx.Done():
			return differences, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Shorten cuts a long list of differences to what a person reads.
func Shorten(differences []string) []string {
	const enough = 25
	if len(differences) <= enough {
		return differences
	}
	return append(slices.Clone(differences[:enough]), fmt.Sprintf("… and %d more", len(differences)-enough))
}

// grace is longer when a trash directory is still being emptied, of which the last may be a
// file that has no name any more.
func grace(differences []string) time.Duration {
	for _, line := range differences {
		if strings.Contains(line, "/trash/") || strings.HasSuffix(line, " _sweep") {
			return trashGrace
		}
	}
	return kernelGrace
}
