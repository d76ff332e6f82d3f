package kube

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
)

// envStarts is how many engines TestTheProbeIsNeverGreenTooEarly starts.
const envStarts = "BERTH_TEST_STARTS"

// Clients start when the engine's startup probe has succeeded, and pull at once: in so many
// starts, some of them at the same time, none fails.
func TestTheProbeIsNeverGreenTooEarly(t *testing.T) {
	starts, err := strconv.Atoi(os.Getenv(envStarts))
	if err != nil {
		starts = 200
	}
	ns := node.Namespace(t)
	// One attempt a pod: a client that came too early fails the Job.
	job := workload(t, "job", "docker pull -q "+busyRef, "--backoff-limit=0")
	at := "  backoffLimit: 0\n"
	if !strings.Contains(job, at) {
		t.Fatalf("no %q in the Job:\n%s", at, job)
	}
	ns.Apply(strings.Replace(job, at, fmt.Sprintf("%s  completions: %d\n  parallelism: 6\n", at, starts), 1))
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(time.Minute+time.Duration(starts)*5*time.Second))
	defer cancel()
	ended := make(chan string, 2)
	for _, condition := range []string{"Complete", "Failed"} {
		go func() {
			if _, err := node.Kubectl(ctx, "", "-n", ns.Name, "wait", "--for=condition="+condition, "job/build", "--timeout=1h"); err == nil {
				ended <- condition
			}
		}()
	}
	select {
	case how := <-ended:
		if how != "Complete" {
			t.Errorf("of %d starts some failed: succeeded %s", starts, ns.Get("job/build", "{.status.succeeded}"))
		}
	case <-ctx.Done():
		t.Errorf("of %d starts only %s were over in time", starts, ns.Get("job/build", "{.status.succeeded}"))
	}
}
