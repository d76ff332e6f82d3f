package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The mirror is found by its Service's name, asks a registry that only it is told of, and
// what was pulled is in it.
func TestPodsPullThroughTheMirror(t *testing.T) {
	ns := node.Namespace(t)
	authority := filepath.Join(t.TempDir(), "authority")
	url := "https://berth-mirror." + ns.Name + ".svc:5443"
	persistentVolume(t, ns, "1Gi")
	for name, kind := range map[string][]string{
		"Deployment": {"--ephemeral"}, "Deployment with a claim": nil, "DaemonSet": {"--daemonset"},
	} {
		t.Run(name, func(t *testing.T) {
			text := written(t, append([]string{
				"mirror", "--namespace", ns.Name, "--image", berthImage, "--size", "1Gi", "--authority", authority,
				"--registry-ca", registryHost() + "=" + companyStore.CAFile,
			}, kind...)...)
			if again := written(t, append([]string{
				"mirror", "--namespace", ns.Name, "--image", berthImage, "--size", "1Gi", "--authority", authority,
				"--registry-ca", registryHost() + "=" + companyStore.CAFile,
			}, kind...)...); again != text {
				t.Error("a second call with the same authority writes another manifest")
			}
			ns.Apply(text)
			resource := strings.ToLower(strings.Fields(name)[0]) + "/berth-mirror"
			ns.Kubectl("rollout", "status", resource, "--timeout=90s")
			ns.Apply(written(t, pod("job", "--mirror", url, "--mirror-ca", authority+"/ca.crt", "--", "sh", "-c",
				"docker pull -q "+busyRef+" && printf 'FROM "+busyRef+"\\nRUN cat /greeting\\n' | docker build --no-cache -q -")...))
			ns.Wait("job/build", "condition=Complete")
			if got := ns.Exec(resource, "mirror", "berth", "mirror", "ls"); !strings.Contains(got, busyRef) {
				t.Errorf("the mirror has\n%s", got)
			}
			ns.Kubectl("delete", "job/build", resource)
		})
	}
	if info, err := os.Stat(authority + "/ca.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v, %v", info, err)
	}
}
