package kube

import (
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/registry"
)

// With an authority that did not sign the registry's certificate, the pod says so, by the
// registry's name.
func TestAWrongAuthorityIsSaidInThePod(t *testing.T) {
	other, err := registry.Start(t.Context(), registry.Options{Dir: t.TempDir(), Host: companyStore.Host})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ns := node.Namespace(t)
	ns.Apply(written(t, "job", "--name", "build", "--image", berthImage, "--client-image", berthImage, "--grace", "2",
		"--registry-ca", companyStore.Host+"="+other.CAFile, "--", "docker", "pull", busyRef))
	ns.Wait("job/build", "condition=Failed")
	message := ns.Get("pods", "{.items[0].status.containerStatuses[0].state.terminated.message}")
	for what, text := range map[string]string{"log": ns.Logs("job/build", "client"), "termination message": message} {
		if !strings.Contains(text, companyStore.Host) || !strings.Contains(text, "certificate signed by unknown authority") {
			t.Errorf("the client's %s does not name the registry and its certificate:\n%s", what, text)
		}
	}
}
