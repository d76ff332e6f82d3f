package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/kube/cluster"
	"github.com/berth-dev/berth/test/registry"
)

// With an authority that did not sign the registry's certificate, the pod says so, by the
// registry's name: in the client's log and last words.
func TestAWrongAuthorityIsSaidInThePod(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(distrusting(t, "job", "--", "docker", "pull", busyRef))
	ns.Wait("job/build", "condition=Failed")
	message := ns.Get("pods", "{.items[0].status.containerStatuses[0].state.terminated.message}")
	for what, text := range map[string]string{"log": ns.Logs("job/build", "client"), "termination message": message} {
		if !strings.Contains(text, companyStore.Host) || !strings.Contains(text, "certificate signed by unknown authority") {
			t.Errorf("the client's %s does not name the registry and its certificate:\n%s", what, text)
		}
	}
}

// The same without a pull: the engine's log and an event say what is wrong and what to do, and
// the pod is not ready. Another authority in the ConfigMap starts other pods, which are.
func TestAWrongAuthorityIsAnEventUntilItIsMended(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(distrusting(t, "deployment", "--", "sleep", "100000"))
	ns.Wait("deployment/build", "jsonpath={.metadata.generation}=1")
	ns.Kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].started}=true", "pods", "--all", "--timeout="+deadline.Scaled(cluster.Patience).String())
	// The event is the kubelet's, after a probe.
	until(t, "an event says what is wrong with the registry's certificate", func() bool {
		events := ns.Events()
		return strings.Contains(events, "Unhealthy") && strings.Contains(events, companyStore.Host+": its certificate was issued by") &&
			strings.Contains(events, "--registry-ca "+companyStore.Host+"=FILE")
	})
	if log := ns.Logs("deployment/build", "engine"); !strings.Contains(log, "berth: "+companyStore.Host+": its certificate was issued by") {
		t.Errorf("the engine's log does not name the registry:\n%s", log)
	}
	if ready := ns.Get("pods", "{.items[0].status.containerStatuses[0].ready}"); ready != "true" {
		t.Errorf("the client's container is ready: %s; it is not the one with the problem", ready)
	}
	if ready := ns.Get("deployment/build", "{.status.readyReplicas}"); ready != "" {
		t.Errorf("%s pods that do not trust their registry are ready", ready)
	}
	ns.Apply(written(t, pod("deployment", "--", "sleep", "100000")...))
	ns.Kubectl("rollout", "status", "deployment/build", "--timeout="+deadline.Scaled(cluster.Patience).String())
	ns.Exec("deployment/build", "client", "docker", "pull", "-q", busyRef)
}

// distrusting is what `berth kube` writes for a client in a pod that trusts another authority
// than the private registry's.
func distrusting(t *testing.T, kind string, args ...string) string {
	t.Helper()
	other, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), Host: companyStore.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	base := []string{kind, "--name", "build", "--image", berthImage, "--client-image", berthImage, "--grace", "2", "--registry-ca", companyStore.Host + "=" + other.CAFile}
	return written(t, append(base, args...)...)
}

// until returns when the condition holds, and fails the test when that takes too long.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline.Scaled(cluster.Patience)); !holds(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in time it was not so that %s", what)
		}
	}
}
