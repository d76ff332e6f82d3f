package kube

import (
	"fmt"
	"slices"
	"strings"
)

// Runners are the systems that [Overlay] knows.
func Runners() []string { return []string{"arc", "gitlab-runner", "jenkins", "tekton"} }

// Overlay returns what gives the pods of a CI system's runner an engine:
//
//   - arc: values of the chart gha-runner-scale-set, in place of containerMode dind;
//   - gitlab-runner: values of the chart gitlab-runner;
//   - jenkins: the pod of a podTemplate(yaml: …) of the Kubernetes plugin;
//   - tekton: a Task whose steps have the engine as their sidecar.
//
// Of the options, those of the client other than its image and command are the runner's own.
func Overlay(runner string, o Options) ([]byte, error) {
	if err := oneOf("RUNNER", runner, Runners()...); err != nil {
		return nil, err
	}
	r := runners[runner]
	o.Workspace, o.ClientImage = r.workspace, orElse(o.ClientImage, r.image)
	if err := o.check(KindDeployment); err != nil {
		return nil, err
	}
	out, err := r.write(&o)
	if c, ok := o.configMap(); ok && err == nil {
		// A chart's values cannot have objects in them.
		text, err := c.yaml()
		if err != nil {
			return nil, err
		}
		if runner == "jenkins" || runner == "tekton" {
			return slices.Concat(text, []byte("---\n"), out), nil
		}
		return slices.Concat([]byte("# To be applied before:\n#\n"), commented(text), []byte("\n"), out), nil
	}
	return out, err
}

var runners = map[string]struct {
	image     string
	workspace string // where the runner checks out, which the engine sees as well
	write     func(*Options) ([]byte, error)
}{
	"arc":           {"ghcr.io/actions/actions-runner:latest", "/home/runner/_work", (*Options).arc},
	"gitlab-runner": {"docker:cli", "/builds", (*Options).gitlab},
	"jenkins":       {"jenkins/inbound-agent:latest", "/home/jenkins/agent", (*Options).jenkins},
	"tekton":        {"docker:cli", "/workspace", (*Options).tekton},
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func commented(text []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("# " + line)
	}
	return []byte(b.String())
}

// runnerPod is the pod with what the runner brings itself left out, and its volume for the
// workspace called as the runner has it.
func (o *Options) runnerPod(client, workspace string) podSpec {
	p := o.pod("")
	p.TerminationGracePeriodSeconds, p.EnableServiceLinks, p.AutomountServiceAccountToken = nil, nil, nil
	p.Containers[0].Name, p.Containers[0].WorkingDir = client, ""
	rename := func(name *string) {
		if *name == "workspace" {
			*name = workspace
		}
	}
	for i := range p.Volumes {
		rename(&p.Volumes[i].Name)
	}
	for _, c := range []*container{&p.InitContainers[0], &p.Containers[0]} {
		for i := range c.VolumeMounts {
			rename(&c.VolumeMounts[i].Name)
		}
	}
	return p
}

// arc has the runner's own programs where containers of a job look for them, as the chart's
// containerMode dind does.
func (o *Options) arc() ([]byte, error) {
	const externals = "externals"
	p := o.runnerPod("runner", "work")
	p.Containers[0].Command = []string{"/home/runner/run.sh"}
	p.Containers[0].SecurityContext = nil
	p.InitContainers = append([]container{{
		Name: "externals", Image: o.ClientImage, Command: []string{"cp", "-r", "/home/runner/externals/.", "/tmp/externals/"},
		VolumeMounts: []mount{{Name: externals, MountPath: "/tmp/externals"}},
	}}, p.InitContainers...)
	p.InitContainers[1].VolumeMounts = append(p.InitContainers[1].VolumeMounts, mount{Name: externals, MountPath: "/home/runner/externals"})
	p.Volumes = append(p.Volumes, volume{Name: externals, EmptyDir: &emptyDir{}})
	values := struct {
		Template struct {
			Spec podSpec `yaml:"spec"`
		} `yaml:"template"`
	}{}
	values.Template.Spec = p
	comments := o.comments("template.spec")
	comments[""] = "Values of the chart gha-runner-scale-set. Leave containerMode out: this is in its place."
	comments["template.spec.initContainers.externals"] = "What containers of a job run the actions with."
	return encode(values, comments)
}

func (o *Options) jenkins() ([]byte, error) {
	pod := object{APIVersion: "v1", Kind: "Pod", Metadata: o.meta(o.Name), Spec: o.runnerPod("jnlp", "workspace-volume"), comments: o.comments("spec")}
	pod.comments[""] = "For podTemplate(yaml: …) of the Kubernetes plugin, which adds its own to the container jnlp."
	return pod.yaml()
}

// tektonTask is what a Task has (https://tekton.dev/docs/pipelines/tasks/).
type tektonTask struct {
	Sidecars []container `yaml:"sidecars"`
	Steps    []container `yaml:"steps"`
	Volumes  []volume    `yaml:"volumes"`
}

// tekton: a Task's steps begin when its sidecars are ready.
func (o *Options) tekton() ([]byte, error) {
	p := o.runnerPod("docker", "workspace")
	engine, step := p.InitContainers[0], p.Containers[0]
	engine.RestartPolicy, engine.LivenessProbe, engine.StartupProbe = "", nil, nil
	engine.ReadinessProbe = health(1, 60, 60)
	engine.Resources, engine.ComputeResources = nil, engine.Resources
	step.Resources, step.ComputeResources = nil, step.Resources
	step.WorkingDir, step.TerminationMessagePolicy = o.Workspace, "" // which a step has not
	if step.Command == nil {
		step.Command = []string{"docker", "version"}
	}
	task := object{
		APIVersion: "tekton.dev/v1", Kind: "Task", Metadata: o.meta(o.Name), Spec: tektonTask{[]container{engine}, []container{step}, p.Volumes},
		comments: map[string]string{"spec.sidecars.engine.readinessProbe": "The command waits for the engine; the steps begin when it has succeeded."},
	}
	podTemplate := fmt.Sprintf("securityContext: {supplementalGroups: [%d]}", socketGroup)
	if o.Level == Unprivileged {
		podTemplate += ", hostUsers: false, runtimeClassName: " + o.RuntimeClass
	}
	task.comments[""] = "The TaskRun's podTemplate has to have: " + podTemplate
	return task.yaml()
}

// gitlab: the engine comes into the runner's pods by a patch
// (https://docs.gitlab.com/runner/executors/kubernetes/#overwrite-generated-pod-specifications).
func (o *Options) gitlab() ([]byte, error) {
	p := o.runnerPod("build", "repo")
	patch := struct {
		HostUsers        *bool        `yaml:"hostUsers,omitempty"`
		RuntimeClassName string       `yaml:"runtimeClassName,omitempty"`
		SecurityContext  *podSecurity `yaml:"securityContext,omitempty"`
		InitContainers   []container  `yaml:"initContainers"`
		Volumes          []volume     `yaml:"volumes"`
	}{p.HostUsers, p.RuntimeClassName, p.SecurityContext, p.InitContainers, nil}
	for _, v := range p.Volumes { // those that the runner does not make itself
		if v.Name != "repo" && v.Name != "socket" {
			patch.Volumes = append(patch.Volumes, v)
		}
	}
	text, err := encode(patch, nil)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, e := range o.clientEnv() {
		env = append(env, fmt.Sprintf("%q", e.Name+"="+e.Value))
	}
	config := fmt.Sprintf(`[[runners]]
  environment = [%s]
  [runners.feature_flags]
    FF_USE_ADVANCED_POD_SPEC_CONFIGURATION = true
  [runners.kubernetes]
    image = %q
    [[runners.kubernetes.volumes.empty_dir]]
      name = "socket"
      mount_path = %q
    [[runners.kubernetes.volumes.empty_dir]]
      name = "repo"
      mount_path = %q
    [[runners.kubernetes.pod_spec]]
      name = "engine"
      patch_type = "strategic"
      patch = '''
%s'''
`, strings.Join(env, ", "), o.ClientImage, socketDir, o.Workspace, text)
	values := struct {
		Runners struct {
			Config string `yaml:"config"`
		} `yaml:"runners"`
	}{}
	values.Runners.Config = config
	return encode(values, map[string]string{"": "Values of the chart gitlab-runner. Jobs need no services: and no privileged = true."})
}
