package kube

import (
	"testing"
	"time"
)

// sidecarEnd is how soon after its client a Job has to be over.
const sidecarEnd = 5 * time.Second

// A Job is over when its client is: the engine beside it ends in order.
func TestAJobEndsWithItsClient(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(workload(t, "job", "docker run --rm "+busyRef+" echo done in a container 2>/dev/null"))
	ns.Wait("job/build", "condition=Complete")
	if log := ns.Logs("job/build", "client"); log != "done in a container" {
		t.Errorf("the client wrote %q", log)
	}
	const pod = "{.items[0].status."
	if code := ns.Get("pods", pod+"initContainerStatuses[0].state.terminated.exitCode}"); code != "0" {
		t.Errorf("the engine ended with status %s", code)
	}
	ended := moment(t, ns.Get("pods", pod+"containerStatuses[0].state.terminated.finishedAt}"))
	completed := moment(t, ns.Get("job/build", "{.status.completionTime}"))
	if took := completed.Sub(ended); took > sidecarEnd {
		t.Errorf("the Job was complete %s after its client had ended, want at most %s", took, sidecarEnd)
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
