package dind

import (
	"slices"
	"strings"
	"testing"
)

// podContainer is what the guide's pods say of a container.
type podContainer struct {
	Name, Image, Script string
	Command, Args       []string
	SecurityContext     struct{ Privileged bool }
	StartupProbe        struct{ Exec struct{ Command []string } }
	ReadinessProbe      struct{ Exec struct{ Command []string } }
	Env                 []struct{ Name, Value string }
	VolumeMounts        []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

// Pods and tasks of the guide's page, with the kubelet's part played by `docker run`: one
// network for all containers, a volume for each that the pod names.
func TestGuidePods(t *testing.T) {
	for _, text := range blocks(t, "pod") {
		var pod struct {
			Kind string
			Spec struct {
				InitContainers, Containers, Sidecars, Steps []podContainer
				Volumes                                     []struct{ Name string }
			}
		}
		parse(t, text, &pod)
		t.Run(pod.Kind, func(t *testing.T) {
			s := pod.Spec
			h := current(t)
			h.must(t, "run", "-d", "--name", "pause", "--entrypoint", "sleep", imageName, "1000")
			t.Cleanup(func() { h.try(t, "rm", "-f", "-v", "pause") })
			for _, v := range s.Volumes {
				volume(t, h, "pod-"+v.Name)
			}
			clients := 0
			for _, c := range slices.Concat(s.InitContainers, s.Sidecars, s.Containers, s.Steps) {
				if c.SecurityContext.Privileged {
					runEngine(t, h, c)
					continue
				}
				clients++
				runClient(t, h, c)
			}
			if clients != 1 {
				t.Errorf("%d clients", clients)
			}
		})
	}
}

func (c podContainer) options() []string {
	out := []string{"--network", "container:pause"}
	for _, v := range c.VolumeMounts {
		out = append(out, "-v", "pod-"+v.Name+":"+v.MountPath)
		if v.ReadOnly {
			out[len(out)-1] += ":ro"
		}
	}
	for _, e := range c.Env {
		out = append(out, "-e", e.Name+"="+e.Value)
	}
	return out
}

func runEngine(t *testing.T, h *host, c podContainer) {
	t.Helper()
	if c.Image != imageName {
		t.Errorf("the engine's image is %s", c.Image)
	}
	e := h.container(t, "pod-"+c.Name, append(c.options(), "--privileged", "-v", busyTar+":/images/busy.tar:ro"), c.Args...)
	for _, probe := range [][]string{c.StartupProbe.Exec.Command, c.ReadinessProbe.Exec.Command, {"berth", "health"}} {
		if len(probe) > 0 {
			e.must(probe...)
		}
	}
}

// runClient runs what a step says, then a container, in the client's place.
func runClient(t *testing.T, h *host, c podContainer) {
	t.Helper()
	if len(c.Command) > 0 && c.Image == imageName { // it stays up for others to come in
		c.Script = "timeout 1 " + strings.Join(c.Command, " ") + " || [ $? = 143 ]"
	}
	script := "mkdir /work; cd /work; echo FROM scratch > Dockerfile; echo COPY . / >> Dockerfile\n" + c.Script + "\ndocker run --rm " + busyName
	r := h.try(t, append(append([]string{"run", "--rm", "--entrypoint", "sh"}, c.options()...), imageName, "-ec", script)...)
	if r.code != 0 {
		t.Errorf("%s: %s", c.Name, r)
	}
}
