package kube

import (
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// A pod runs, and finds the registry and a Service by name.
func TestTheClusterIsReal(t *testing.T) {
	ns := node.Namespace(t)
	ns.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: plain}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: ` + cluster.BusyImage + `
    command: [httpd, -f, -p, "8080", -h, /home]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: plain}, ports: [{port: 80, targetPort: 8080}]}
`)
	ns.Wait("pod/plain", "condition=Ready")
	if got := ns.Exec("plain", "main", "nslookup", companyStore.Host); !strings.Contains(got, cluster.Address) {
		t.Errorf("%s is looked up as\n%s", companyStore.Host, got)
	}
	ns.Wait("endpoints/web", "jsonpath={.subsets[0].addresses[0].ip}")
	if got := ns.Exec("plain", "main", "wget", "-q", "-O-", "http://web/user/note"); got != "owned by 1000" {
		t.Errorf("the Service answers %q", got)
	}
}
