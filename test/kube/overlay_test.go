package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/berth-dev/berth/test/kube/cluster"
)

// What the CI systems make of the overlays are pods that Kubernetes runs: Jenkins takes one
// as it is, ARC has the specification of one, GitLab's runner patches its own, and Tekton
// puts sidecars beside steps.
func TestOverlays(t *testing.T) {
	overlay := func(t *testing.T, runner string) string {
		return written(t, "overlay", runner, "--image", berthImage, "--client-image", berthImage, "--", "sleep", "100000")
	}
	for runner, make := range map[string]func(*testing.T, string) any{
		"jenkins":       func(t *testing.T, text string) any { return parsed(t, text) },
		"arc":           arcPod,
		"gitlab-runner": gitlabPod,
		"tekton":        tektonPod,
	} {
		t.Run(runner, func(t *testing.T) {
			text, err := yaml.Marshal(make(t, overlay(t, runner)))
			if err != nil {
				t.Fatal(err)
			}
			ns := node.Namespace(t)
			ns.Apply(string(text))
			name := ns.Get("pods", "{.items[0].metadata.name}")
			ns.Wait("pod/"+name, "condition=Ready")
			client := map[string]string{"jenkins": "jnlp", "arc": "runner", "gitlab-runner": "build", "tekton": "docker"}[runner]
			dir := map[string]string{"jenkins": "/home/jenkins/agent", "arc": "/home/runner/_work", "gitlab-runner": "/builds", "tekton": "/workspace"}[runner]
			got := ns.Exec(name, client, "sh", "-c", "echo mine > "+dir+"/file && docker info -f '{{.Driver}}' && test -S /run/engine/docker.sock && echo socket")
			if !strings.Contains(got, "socket") || !strings.Contains(got, "overlayfs") {
				t.Errorf("the client says %q", got)
			}
			if got := ns.Exec(name, "engine", "cat", dir+"/file"); got != "mine" {
				t.Errorf("the engine's container has %q in the workspace", got)
			}
		})
	}
}

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func podOf(spec any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "runner"}, "spec": spec}
}

// arcPod stands in for the runner: its image has other programs.
func arcPod(t *testing.T, text string) any {
	spec := parsed(t, text)["template"].(map[string]any)["spec"].(map[string]any)
	spec["initContainers"].([]any)[0].(map[string]any)["command"] = []string{"true"}
	spec["containers"].([]any)[0].(map[string]any)["command"] = []string{"sleep", "100000"}
	return short(podOf(spec))
}

// gitlabPod applies the patch to a pod as the runner makes it.
func gitlabPod(t *testing.T, text string) any {
	var config struct {
		Runners []struct {
			Environment  []string
			FeatureFlags map[string]bool `toml:"feature_flags"`
			Kubernetes   struct {
				Image   string
				Volumes struct {
					EmptyDir []struct {
						Name      string
						MountPath string `toml:"mount_path"`
					} `toml:"empty_dir"`
				}
				PodSpec []struct {
					Name, Patch string
					PatchType   string `toml:"patch_type"`
				} `toml:"pod_spec"`
			}
		}
	}
	in := toml.NewDecoder(strings.NewReader(parsed(t, text)["runners"].(map[string]any)["config"].(string))).DisallowUnknownFields()
	if err := in.Decode(&config); err != nil {
		t.Fatalf("config.toml: %v", err)
	}
	// The runner's patches are of the pod's specification.
	patch := "spec:\n  " + strings.ReplaceAll(config.Runners[0].Kubernetes.PodSpec[0].Patch, "\n", "\n  ")
	dir := t.TempDir()
	base := `
apiVersion: v1
kind: Pod
metadata: {name: runner}
spec:
  initContainers:
  - {name: init-permissions, image: ` + cluster.BusyImage + `, command: ["true"], volumeMounts: [{name: repo, mountPath: /builds}]}
  containers:
  - name: build
    image: ` + berthImage + `
    command: [sleep, "100000"]
    env: [{name: DOCKER_HOST, value: "unix:///run/engine/docker.sock"}]
    volumeMounts: [{name: repo, mountPath: /builds}, {name: socket, mountPath: /run/engine}]
  volumes: [{name: repo, emptyDir: {}}, {name: socket, emptyDir: {}}]
`
	for name, content := range map[string]string{"base": base, "patch": patch} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := node.Kubectl(t.Context(), "", "patch", "--local", "-f", dir+"/base", "--type=strategic", "--patch-file="+dir+"/patch", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	return short(parsed(t, out))
}

func tektonPod(t *testing.T, text string) any {
	spec := parsed(t, text)["spec"].(map[string]any)
	containers := append(spec["sidecars"].([]any), spec["steps"].([]any)...)
	return short(podOf(map[string]any{"containers": containers, "volumes": spec["volumes"], "securityContext": map[string]any{"supplementalGroups": []int{2375}}}))
}

// short has a pod end soon.
func short(pod map[string]any) any {
	pod["spec"].(map[string]any)["terminationGracePeriodSeconds"] = 3
	return pod
}
