package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
)

// Patience is how long a Namespace's methods wait for what they wait for, on an ordinary
// machine.
const Patience = 90 * time.Second

// Namespace is one test's part of the cluster. Its methods fail the test when what they do
// fails.
type Namespace struct {
	Name string
	t    testing.TB
	c    *Cluster
}

var count atomic.Int64

// Namespace makes a namespace that may run privileged pods, and removes it with everything
// in it when the test ends. When the test has failed, it first logs what became of its pods.
func (c *Cluster) Namespace(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{Name: fmt.Sprintf("test-%d", count.Add(1)), t: t, c: c}
	if dead := c.dead(); dead != "" {
		t.Fatal(dead)
	}
	n.cluster("create", "namespace", n.Name)
	t.Cleanup(func() {
		if t.Failed() {
			n.explain()
		}
		ctx, cancel := context.WithTimeout(context.Background(), deadline.Scaled(2*time.Minute))
		defer cancel()
		for _, args := range [][]string{
			{"delete", "namespace", n.Name, "--wait=false"}, // so that nothing starts another pod
			{"delete", "pods", "--all", "-n", n.Name, "--grace-period=1", "--wait=false"},
			{"wait", "--for=delete", "namespace/" + n.Name, "--timeout=" + limit()},
		} {
			if _, err := c.Kubectl(ctx, "", args...); err != nil {
				t.Error(err)
			}
		}
	})
	n.Kubectl("wait", "--for=create", "serviceaccount/default", "--timeout="+limit())
	return n
}

func limit() string { return deadline.Scaled(Patience).String() }

// Apply applies a manifest and returns what kubectl says.
func (n *Namespace) Apply(manifest string) string {
	n.t.Helper()
	return n.must(manifest, "apply", "-f", "-")
}

// Kubectl runs kubectl in the namespace and returns its standard output.
func (n *Namespace) Kubectl(args ...string) string {
	n.t.Helper()
	return n.must("", args...)
}

// Try is Kubectl for what may fail.
func (n *Namespace) Try(args ...string) (string, error) {
	ctx, cancel := n.context()
	defer cancel()
	return n.c.Kubectl(ctx, "", append([]string{"-n", n.Name}, args...)...)
}

// Wait waits until the resource (pod/x, deployment/x, job/x) is there and the condition
// holds, in kubectl wait's words: condition=Ready, condition=Complete, delete,
// jsonpath={.status.phase}=Running.
func (n *Namespace) Wait(resource, condition string) {
	n.t.Helper()
	if condition != "delete" {
		n.must("", "wait", "--for=create", resource, "--timeout="+limit())
	}
	n.must("", "wait", "--for="+condition, resource, "--timeout="+limit())
}

// Get returns what a JSON path finds in a resource: Get("pod/x", "{.status.podIP}").
func (n *Namespace) Get(resource, path string) string {
	n.t.Helper()
	return n.must("", "get", resource, "-o", "jsonpath="+path)
}

// Exec runs a command in a container of a pod (x, or deployment/x) and returns its output.
func (n *Namespace) Exec(pod, container string, command ...string) string {
	n.t.Helper()
	return n.must("", append([]string{"exec", pod, "-c", container, "--"}, command...)...)
}

// Logs returns what a container has written so far.
func (n *Namespace) Logs(pod, container string) string {
	n.t.Helper()
	return n.must("", "logs", pod, "-c", container)
}

// Events lists the namespace's events, a line each: reason, object, message.
func (n *Namespace) Events() string {
	n.t.Helper()
	return n.must("", "get", "events", "-o", `jsonpath={range .items[*]}{.reason}{" "}{.involvedObject.kind}/{.involvedObject.name} {.message}{"\n"}{end}`)
}

func (n *Namespace) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), deadline.Scaled(Patience+10*time.Second))
}

func (n *Namespace) must(stdin string, args ...string) string {
	n.t.Helper()
	ctx, cancel := n.context()
	defer cancel()
	out, err := n.c.Kubectl(ctx, stdin, append([]string{"-n", n.Name}, args...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// cluster runs kubectl outside the namespace.
func (n *Namespace) cluster(args ...string) {
	n.t.Helper()
	ctx, cancel := n.context()
	defer cancel()
	if _, err := n.c.Kubectl(ctx, "", args...); err != nil {
		n.t.Fatal(err)
	}
}

// explain logs what somebody would ask first: pods, events and the containers' logs.
func (n *Namespace) explain() {
	for _, args := range [][]string{{"get", "pods", "-o", "wide"}, {"get", "events", "--sort-by=.lastTimestamp"}} {
		out, err := n.Try(args...)
		n.t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	pods, _ := n.Try("get", "pods", "-o", "name")
	for _, pod := range strings.Fields(pods) {
		out, _ := n.Try("logs", pod, "--all-containers", "--prefix", "--tail=40")
		n.t.Logf("%s:\n%s", pod, out)
	}
}
