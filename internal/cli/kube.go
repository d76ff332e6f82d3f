package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/kube"
)

func (a *app) kubeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kube",
		Short: "Write Kubernetes manifests of pods with an engine, and of the mirror",
		Long: `Write manifests for kubectl: pods with an engine and a client, in the right order, with exact
probes, limits and trust; the mirror for a whole cluster; and what nodes need for pods without
privileges. Nothing is sent to a cluster.`,
		Example: `  berth kube job --name build --client-image docker:cli -- docker run --rm busybox true | kubectl apply -f -
  berth kube doctor | kubectl apply -f -`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.kubeWorkloadVerb(kube.KindDeployment, "a Deployment"), a.kubeWorkloadVerb(kube.KindJob, "a Job, which ends when its client ends"),
		a.kubeWorkloadVerb(kube.KindCronJob, "a CronJob"), a.kubeWorkloadVerb(kube.KindStatefulSet, "a StatefulSet, whose pods keep their images"),
		a.kubeMirrorVerb(), a.kubeOverlayVerb(), a.kubeDoctorVerb(), a.kubeCheckVerb(), a.kubeNodeSetupVerb())
	return cmd
}

// kubeExamples are the verbs' own.
var kubeExamples = map[string]string{
	kube.KindDeployment: "  berth kube deployment --name ci --client-image docker:cli --registry-ca registry.example:5000=ca.crt -- sleep infinity",
	kube.KindJob: `  berth kube job --name build --client-image docker:cli --memory 4Gi --cpus 2 -- docker run --rm busybox true
  berth kube job -f values.yaml | kubectl apply -f -`,
	kube.KindCronJob:     "  berth kube cronjob --name nightly --schedule '30 2 * * *' --client-image docker:cli -- docker pull debian:12",
	kube.KindStatefulSet: "  berth kube statefulset --name builder --client-image docker:cli --data-size 50Gi -- sleep infinity",
}

func (a *app) kubeWorkloadVerb(kind, what string) *cobra.Command {
	f := &kubeFlags{Options: kube.Defaults()}
	if kind == kube.KindStatefulSet {
		f.Data = kube.DataPVC
	}
	out := &kubeOutput{}
	cmd := &cobra.Command{
		Use:   kind + " --name NAME --client-image IMAGE [flags] [-- CMD [ARG...]]",
		Short: "Write the manifest of " + what,
		Long: `Write the manifest of ` + what + `, whose pods have two containers: an engine, and a
client that finds it by DOCKER_HOST. The client is started when the engine can be used, and
runs CMD, or what its image runs. -f reads the flags from a file of values, in which each has
its long name; a flag that is given wins.`,
		Example: kubeExamples[kind],
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd, args); err != nil {
				return usage(cmd, "%w", err)
			}
			m, err := kube.Workload(kind, f.Options)
			if err != nil {
				return kubeError(cmd, err)
			}
			return out.print(cmd.Context(), a, m)
		},
	}
	f.register(cmd)
	f.registerKind(cmd, kind)
	out.register(cmd)
	return cmd
}

// kubeError makes a usage error of bad input.
func kubeError(cmd *cobra.Command, err error) error {
	if errors.As(err, new(*kube.InputError)) {
		return usage(cmd, "%w", err)
	}
	return err
}

// kubeOutput is where a manifest goes.
type kubeOutput struct{ dir string }

func (o *kubeOutput) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.dir, "kustomize", "", "write a Kustomize base to `DIR` instead: a file for each object, and kustomization.yaml")
}

func (o *kubeOutput) print(ctx context.Context, a *app, m kube.Manifest) error {
	large, err := m.TooLargeToApply()
	if err != nil {
		return err
	}
	if len(large) > 0 {
		a.note("%s: too large for plain `kubectl apply`; use `kubectl apply --server-side`", strings.Join(large, ", "))
	}
	if o.dir != "" {
		files, err := m.Kustomize()
		if err != nil {
			return err
		}
		return writeFiles(ctx, o.dir, files)
	}
	text, err := m.YAML()
	if err != nil {
		return err
	}
	_, err = a.Out.Write(text)
	return err
}

func writeFiles(ctx context.Context, dir string, files []kube.File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		// A Secret among them is nobody else's.
		if err := writeWhole(ctx, filepath.Join(dir, f.Name), 0o600, whole(f.Data)); err != nil {
			return err
		}
	}
	return nil
}

func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(data); return err }
}

func (a *app) kubeOverlayVerb() *cobra.Command {
	f := &kubeFlags{Options: kube.Defaults()}
	f.Name = "berth"
	cmd := &cobra.Command{
		Use:   "overlay RUNNER [flags] [-- CMD [ARG...]]",
		Short: "Write what gives the pods of a CI system an engine",
		Long: `Write what gives the pods of a CI system's runner an engine of their own:

  arc             values of GitHub's chart gha-runner-scale-set, in place of containerMode: dind
  gitlab-runner   values of the chart gitlab-runner
  jenkins         the pod of a podTemplate(yaml: ...) of the Kubernetes plugin
  tekton          a Task whose steps have the engine as a sidecar`,
		Example:   "  berth kube overlay gitlab-runner --registry-ca registry.example=ca.crt > values.yaml",
		ValidArgs: kube.Runners(),
		Args:      cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || cmd.ArgsLenAtDash() == 0 {
				return usage(cmd, "overlay needs the name of a runner: %v", kube.Runners())
			}
			if cmd.ArgsLenAtDash() < 0 && len(args) > 1 {
				return usage(cmd, "unexpected argument %q", args[1])
			}
			if err := f.parse(cmd, args[1:]); err != nil {
				return usage(cmd, "%w", err)
			}
			text, err := kube.Overlay(args[0], f.Options)
			if err != nil {
				return kubeError(cmd, err)
			}
			_, err = a.Out.Write(text)
			return err
		},
	}
	f.register(cmd)
	return cmd
}

func (a *app) kubeNodeSetupVerb() *cobra.Command {
	o, dir, selector := kube.NodeOptions{}, "", []string(nil)
	cmd := &cobra.Command{
		Use:   "node-setup [PART]",
		Short: "Print what nodes need for engines without privileges",
		Long: `Print what a cluster and its nodes need for pods of the level unprivileged: a RuntimeClass, a
handler of containerd's, settings of the kubelet, profiles of seccomp and AppArmor, and kernel
modules. With PART, one of them alone, as it goes into its file.`,
		Example: `  berth kube node-setup
  berth kube node-setup runtimeclass | kubectl apply -f -
  berth kube node-setup seccomp | sudo tee /var/lib/kubelet/seccomp/berth/engine.json`,
		ValidArgs: []string{"runtimeclass", "containerd", "kubelet", "seccomp", "apparmor", "modules"},
		Args:      atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.NodeSelector, err = parseLabels("--node-selector", selector); err != nil {
				return usage(cmd, "%w", err)
			}
			parts, err := kube.NodeSetup(o)
			if err != nil {
				return kubeError(cmd, err)
			}
			if dir != "" {
				return writeParts(cmd.Context(), dir, parts)
			}
			if len(args) == 0 {
				_, err := a.Out.Write(kube.Overview(parts))
				return err
			}
			for _, p := range parts {
				if p.Name == args[0] {
					_, err := a.Out.Write(p.Text)
					return err
				}
			}
			return usage(cmd, "node-setup has no part %q; there are %v", args[0], cmd.ValidArgs)
		},
	}
	cmd.Flags().StringVar(&o.RuntimeClass, "runtime-class", kube.RuntimeClassName, "what the RuntimeClass and containerd's handler are called")
	cmd.Flags().StringArrayVar(&selector, "node-selector", nil, "a label of the nodes that are set up: `KEY=VALUE` (default: all nodes)")
	cmd.Flags().StringVar(&dir, "output", "", "write the parts to `DIR`, each at the path that it has on a node")
	return cmd
}

func writeParts(ctx context.Context, dir string, parts []kube.NodePart) error {
	for _, p := range parts {
		path := filepath.Join(dir, p.Path)
		if p.Path == "" {
			path = filepath.Join(dir, p.Name+".yaml")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeWhole(ctx, path, 0o644, whole(p.Text)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) kubeDoctorVerb() *cobra.Command {
	d := kube.Defaults()
	o := kube.DoctorOptions{Image: d.Image, RuntimeClass: d.RuntimeClass, Seccomp: d.Seccomp, AppArmor: d.AppArmor, Levels: kube.Levels()}
	levels := []string(nil)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Write Jobs that say which level of privileges a cluster allows",
		Long: `Write a Job for each level of privileges: its pod tries to start an engine and says how that
went, and what an administrator would change. The log of each is the answer; a pod that the
cluster does not admit has none, and the Job's events say why.`,
		Example: `  berth kube doctor --image registry.example/berth:latest | kubectl apply -f -
  kubectl wait --for=condition=complete --timeout=2m job -l app.kubernetes.io/name=berth-doctor
  kubectl logs -l app.kubernetes.io/name=berth-doctor --prefix`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(levels) > 0 {
				o.Levels = nil
			}
			for _, l := range levels {
				o.Levels = append(o.Levels, kube.Level(l))
			}
			m, err := kube.Doctor(o)
			if err != nil {
				return kubeError(cmd, err)
			}
			return (&kubeOutput{}).print(cmd.Context(), a, m)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.Namespace, "namespace", "", "namespace of the Jobs")
	fs.StringVar(&o.Image, "image", o.Image, "berth's container image")
	fs.StringVar(&o.RuntimeClass, "runtime-class", o.RuntimeClass, "RuntimeClass of the level unprivileged")
	fs.StringVar(&o.Seccomp, "seccomp", o.Seccomp, "seccomp profile of the level unprivileged")
	fs.StringVar(&o.AppArmor, "apparmor", o.AppArmor, "AppArmor profile of the level unprivileged")
	fs.StringArrayVar(&levels, "level", nil, "try this level alone: unprivileged, userns or rootful (default: each)")
	return cmd
}

func parseLabels(flag string, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range list {
		e, ok := kube.EnvOf(s)
		if !ok {
			return nil, fmt.Errorf("%s %s: give KEY=VALUE", flag, s)
		}
		if _, again := out[e.Name]; again {
			return nil, fmt.Errorf("%s %s: %s is there already; give it once", flag, s, e.Name)
		}
		out[e.Name] = e.Value
	}
	return out, nil
}
