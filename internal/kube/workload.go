package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
)

// Kinds of workloads, as the verbs of `berth kube` are called.
const (
	KindDeployment  = "deployment"
	KindJob         = "job"
	KindCronJob     = "cronjob"
	KindStatefulSet = "statefulset"
)

// Workload returns the manifest of a pod with an engine and a client, run as kind says.
// Its errors are [*InputError].
func Workload(kind string, o Options) (Manifest, error) {
	if err := o.check(kind); err != nil {
		return nil, err
	}
	var m Manifest
	if c, ok := o.configMap(); ok {
		m = append(m, c)
	}
	main := object{Metadata: o.meta(o.Name)}
	pod := "spec.template.spec"
	switch kind {
	case KindJob:
		main.APIVersion, main.Kind, main.Spec = "batch/v1", "Job", o.job()
	case KindCronJob:
		main.APIVersion, main.Kind, main.Spec = "batch/v1", "CronJob", cronJob{
			Schedule: o.Cron.Schedule, TimeZone: o.Cron.TimeZone, ConcurrencyPolicy: o.Cron.Concurrency, JobTemplate: jobTemplate{o.job()},
		}
		pod = "spec.jobTemplate.spec.template.spec"
	case KindStatefulSet:
		main.APIVersion, main.Kind, main.Spec = "apps/v1", "StatefulSet", o.statefulSet()
		m = append(m, o.headless())
	default:
		main.APIVersion, main.Kind, main.Spec = "apps/v1", "Deployment", o.deployment()
	}
	main.comments = o.comments(pod)
	return append(m, main), nil
}

func (o *Options) labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": o.Name}
}

func (o *Options) meta(name string) meta {
	return described(name, o.Namespace, o.labels())
}

func described(name, namespace string, labels map[string]string) meta {
	labels = maps.Clone(labels)
	labels["app.kubernetes.io/managed-by"] = "berth"
	return meta{Name: name, Namespace: namespace, Labels: labels}
}

func (o *Options) template(restart string) template {
	t := template{templateMeta{Labels: o.labels()}, o.pod(restart)}
	if c, ok := o.configMap(); ok {
		// Other certificates are other pods: an engine reads them when it starts.
		t.Metadata.Annotations = map[string]string{"berth.dev/registries": digest(c.Data)}
	}
	return t
}

// digest tells one ConfigMap's content from another's.
func digest(data map[string]string) string {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(h, "%q=%q\n", key, data[key])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (o *Options) job() job {
	j := job{BackoffLimit: o.Job.BackoffLimit, Template: o.template("Never")}
	if o.Job.Deadline > 0 {
		j.ActiveDeadlineSeconds = &o.Job.Deadline
	}
	if o.Job.TTL >= 0 {
		j.TTLSecondsAfterFinished = &o.Job.TTL
	}
	return j
}

func (o *Options) deployment() deployment {
	d := deployment{Replicas: o.Replicas, Selector: selector{o.labels()}, Template: o.template("")}
	if o.Data == DataPVC {
		// Two engines cannot have one data root.
		d.Strategy = &strategy{"Recreate"}
	}
	return d
}

func (o *Options) statefulSet() statefulSet {
	return statefulSet{
		Replicas: o.Replicas, ServiceName: o.Name, Selector: selector{o.labels()}, Template: o.template(""),
		VolumeClaimTemplates: []claim{{templateName{"data"}, o.dataClaim()}},
	}
}

// headless gives the pods of a StatefulSet their names in DNS.
func (o *Options) headless() object {
	return object{
		APIVersion: "v1", Kind: "Service", Metadata: o.meta(o.Name),
		Spec: service{ClusterIP: "None", Selector: o.labels()},
	}
}

// comments say why things are as they are.
func (o *Options) comments(pod string) map[string]string {
	engine := pod + ".initContainers." + engineName
	c := map[string]string{
		engine: "The engine: a native sidecar (Kubernetes 1.29), which is started before the client and\n" +
			"ended after it. The client starts when the startup probe has succeeded.",
		engine + ".startupProbe":                                "The command waits for the engine, and returns when a pull can work.",
		pod + ".containers." + clientName:                       "The client; DOCKER_HOST says where the engine is.",
		pod + ".securityContext":                                "The group that may use the engine's socket, whoever the client's user is.",
		pod + ".volumes.data":                                   "Images and containers: never on the container's own layer.",
		pod + ".terminationGracePeriodSeconds":                  "For the containers in the engine to end in.",
		pod + ".containers." + clientName + ".env.BERTH_ENGINE": "For berth's Go package and for testcontainers.",
	}
	switch o.Level {
	case Unprivileged:
		c[engine+".securityContext"] = "All of this counts within the pod's user namespace only."
		c[pod+".runtimeClassName"] = "A handler of containerd's with writable control groups: see `berth kube node-setup`."
		c[pod+".hostUsers"] = "Root in this pod is nobody on the node."
	case UserNS:
		c[engine+".securityContext"] = "Berth gives this up before anything else: the engine is in a user namespace of its own,\n" +
			"in control groups below the pod's."
	case Rootful:
		c[engine+".securityContext"] = "Root in this engine is root on the node."
	}
	return c
}
