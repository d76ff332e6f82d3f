package boot

import "os"

// inPod reports whether the container is one of a Kubernetes pod, which says so to all
// (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
func inPod() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }

// forPod lists what a pod's container needs and has not, in Kubernetes's words.
func (l lack) forPod() []string {
	var out []string
	for _, c := range l.caps {
		out = append(out, "capabilities.add "+c)
	}
	if l.seccomp || len(l.caps) > 0 && filtered() {
		out = append(out, "a seccompProfile that allows mount, pivot_root and keyctl (`berth kube node-setup seccomp`)")
	}
	if l.procMasks {
		out = append(out, "procMount Unmasked, in a pod with hostUsers: false")
	}
	if l.apparmor {
		out = append(out, "an appArmorProfile that allows mounts (`berth kube node-setup apparmor`)")
	}
	if l.cgroupRO {
		out = append(out, "a runtimeClassName whose control groups can be written to (`berth kube node-setup containerd`)")
	}
	return out
}
