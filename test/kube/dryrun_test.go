package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/kube/cluster"
)

// The API takes every manifest that berth writes, with no field that it does not know.
func TestTheAPITakesEveryManifest(t *testing.T) {
	ns := node.Namespace(t)
	common := []string{"--name", "build", "--client-image", "docker:cli"}
	everything := []string{
		"--memory", "1Gi", "--memory-request", "512Mi", "--cpus", "2", "--cpus-request", "500m", "--ephemeral-storage", "10Gi", "--pids", "512",
		"--client-memory", "64Mi", "--client-cpus", "500m", "--env", "A=b", "--grace", "60", "--pull-secret", "pull", "--docker-config-secret", "login",
		"--service-account", "default", "--mirror", "https://berth-mirror.ci.svc:5443", "--mirror-ca", companyStore.CAFile, "--ca", companyStore.CAFile,
		"--registry-ca", companyStore.Host + "=" + companyStore.CAFile, "--registry-mirror", "https://hub.example",
	}
	for _, kind := range []string{"deployment", "job", "statefulset"} {
		for name, more := range map[string][]string{
			"plain": nil, "everything": everything, "unprivileged": {"--level", "unprivileged"}, "rootful": {"--level", "rootful"},
			"tcp": {"--endpoint", "tcp"}, "volume": {"--data", "ephemeral", "--data-size", "10Gi", "--storage-class", "fast"},
		} {
			if kind == "statefulset" { // always with a claim a pod
				if name == "volume" {
					continue
				}
				more = append([]string{"--data-size", "10Gi"}, more...)
			}
			dryRun(t, ns.Name, kind+" "+name, append(append([]string{kind}, common...), more...)...)
		}
	}
	dryRun(t, ns.Name, "cronjob", append([]string{"cronjob", "--schedule", "0 3 * * *"}, common...)...)
	dryRun(t, ns.Name, "doctor", "doctor")
	dryRun(t, ns.Name, "mirror", "mirror", "--size", "5Gi")
	dryRun(t, ns.Name, "mirror on each node", "mirror", "--daemonset", "--size", "5Gi")
	dryRun(t, "", "RuntimeClass", "node-setup", "runtimeclass")
	dryRun(t, ns.Name, "overlay jenkins", "overlay", "jenkins", "--client-image", "docker:cli")
}

// Tekton's own definition of a Task, with its schema, takes the one that berth writes.
func TestTheAPITakesATektonTask(t *testing.T) {
	define(t, "tekton-task.yaml", "Task", "tasks.tekton.dev")
	ns := node.Namespace(t)
	dryRun(t, ns.Name, "plain", "overlay", "tekton")
	dryRun(t, ns.Name, "everything", "overlay", "tekton", "--level", "unprivileged", "--memory", "1Gi", "--client-memory", "64Mi", "--env", "A=b",
		"--registry-ca", companyStore.Host+"="+companyStore.CAFile, "--docker-config-secret", "login", "--data", "ephemeral", "--data-size", "1Gi")
}

// The definition of a set of GitHub's runners takes the pod that berth writes. The last one that
// is to be had as a module is from before native sidecars: two fields of a container are younger,
// and nothing else may be unknown to it.
func TestTheAPITakesARunnerSet(t *testing.T) {
	define(t, "arc-runnerset.yaml", "AutoscalingRunnerSet", "autoscalingrunnersets.actions.github.com")
	ns := node.Namespace(t)
	for name, args := range map[string][]string{
		"plain": nil,
		"everything": {
			"--level", "unprivileged", "--memory", "1Gi", "--client-memory", "64Mi", "--env", "A=b", "--registry-ca", companyStore.Host + "=" + companyStore.CAFile,
			"--docker-config-secret", "login", "--data", "ephemeral", "--data-size", "1Gi", "--service-account", "default",
		},
	} {
		template := parsed(t, written(t, append([]string{"overlay", "arc"}, args...)...))["template"].(map[string]any)
		engine := template["spec"].(map[string]any)["initContainers"].([]any)[1].(map[string]any)
		if engine["restartPolicy"] != "Always" {
			t.Fatalf("%s: the engine is no native sidecar: %v", name, engine)
		}
		delete(engine, "restartPolicy")
		delete(engine["securityContext"].(map[string]any), "appArmorProfile")
		text, err := yaml.Marshal(map[string]any{
			"apiVersion": "actions.github.com/v1alpha1", "kind": "AutoscalingRunnerSet", "metadata": map[string]any{"name": "runners"},
			"spec": map[string]any{"githubConfigUrl": "https://github.com/example/example", "githubConfigSecret": "github", "template": template},
		})
		if err != nil {
			t.Fatal(err)
		}
		strictly(t, ns.Name, name, string(text))
	}
}

// define gives the cluster one of .cache/kube/bin's definitions, until the test ends.
func define(t *testing.T, file, kind, name string) {
	t.Helper()
	resource := "customresourcedefinition/" + name
	kubectl := func(args ...string) error {
		ctx, cancel := context.WithTimeout(context.Background(), deadline.Scaled(cluster.Patience))
		defer cancel()
		_, err := node.Kubectl(ctx, "", args...)
		return err
	}
	t.Cleanup(func() {
		if err := kubectl("delete", resource); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"create", "-f", programs + "/" + file},
		{"wait", "--for=jsonpath={.status.acceptedNames.kind}=" + kind, resource}, // kubectl minds when there are no conditions at all
		{"wait", "--for=condition=Established", resource},
	} {
		if err := kubectl(args...); err != nil {
			t.Fatal(err)
		}
	}
}

// dryRun has the API check what `berth kube` writes for args, without keeping it.
func dryRun(t *testing.T, namespace, name string, args ...string) {
	t.Helper()
	strictly(t, namespace, name, written(t, args...))
}

// strictly has the API check a manifest, without keeping it.
func strictly(t *testing.T, namespace, name, manifest string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline.Scaled(30*time.Second))
	defer cancel()
	command := []string{"create", "--dry-run=server", "--validate=strict", "-f", "-"}
	if namespace != "" {
		command = append(command, "-n", namespace)
	}
	out, err := node.Kubectl(ctx, manifest, command...)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	} else if !strings.Contains(out, "created (server dry run)") {
		t.Errorf("%s: the API says %q", name, out)
	}
}
