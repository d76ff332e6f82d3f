package kube

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/certsd"
)

const (
	engineName = "engine"
	clientName = "client"
	// RuntimeClassName and SeccompProfile are what [NodeSetup] calls them.
	RuntimeClassName = "berth"
	SeccompProfile   = "berth/engine.json"

	dataPath   = "/var/lib/docker"
	socketDir  = "/run/engine" // shared by the pod's containers
	certsDir   = certsd.Dir
	trustDir   = "/etc/docker/trust"
	configDir  = "/run/docker-config"
	clientHost = "127.0.0.1"
	lastWords  = "FallbackToLogsOnError"
	// pullPolicy of berth's own image: without one, nodes would ask the registry for a tag
	// "latest" at each start, and could not use an image that was loaded by hand.
	pullPolicy = "IfNotPresent"
	// socketGroup has the right to use the socket: every process in the pod has it.
	socketGroup = 2375
)

// pod is the pod of an engine and a client. kind decides on what restarts.
func (o *Options) pod(restart string) podSpec {
	p := podSpec{
		EnableServiceLinks:            ptr(false),
		RestartPolicy:                 restart,
		TerminationGracePeriodSeconds: ptr(o.Grace),
		SecurityContext:               &podSecurity{SupplementalGroups: []int64{socketGroup}},
		InitContainers:                []container{o.engine(restart == "Never")},
		Containers:                    []container{o.client()},
		Volumes:                       o.volumes(),
	}
	if o.PullSecret != "" {
		p.ImagePullSecrets = []named{{o.PullSecret}}
	}
	if p.ServiceAccountName = o.ServiceAccount; o.ServiceAccount == "" {
		p.AutomountServiceAccountToken = ptr(false)
	}
	if o.Level == Unprivileged {
		p.HostUsers, p.RuntimeClassName = ptr(false), o.RuntimeClass
	}
	return p
}

// engine is a container that Kubernetes starts before the others, and ends after them.
func (o *Options) engine(job bool) container {
	c := container{
		Name: engineName, Image: o.Image, ImagePullPolicy: pullPolicy, RestartPolicy: "Always", Args: o.engineArgs(job),
		SecurityContext: o.engineSecurity(),
		// The command returns when the engine is ready, so the first probe is the only one.
		StartupProbe:             health(1, 60, 60),
		ReadinessProbe:           health(10, 5, 3, "--registries"),
		LivenessProbe:            health(30, 10, 4),
		Resources:                o.engineResources(),
		TerminationMessagePolicy: lastWords,
		VolumeMounts:             []mount{{Name: "data", MountPath: dataPath}, {Name: "socket", MountPath: socketDir}},
	}
	if o.Workspace != "" {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "workspace", MountPath: o.Workspace})
	}
	if len(o.certificates()) > 0 {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "registries", MountPath: certsDir, ReadOnly: true})
	}
	if o.CA != "" {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "trust", MountPath: trustDir, ReadOnly: true})
	}
	return c
}

func health(period, timeout, failures int64, flags ...string) *probe {
	return &probe{Exec: &execAction{append([]string{"berth", "health"}, flags...)}, PeriodSeconds: period, TimeoutSeconds: timeout, FailureThreshold: failures}
}

func (o *Options) engineArgs(job bool) []string {
	isolation := map[Level]string{Unprivileged: "none", UserNS: "userns", Rootful: "rootful"}[o.Level]
	args := []string{"dockerd", "--host=unix:///var/run/docker.sock", "--host=unix://" + socketDir + "/docker.sock"}
	if o.Endpoint == EndpointTCP {
		args = append(args, "--host=tcp://"+clientHost+":2375")
	}
	args = append(args, fmt.Sprintf("--group=%d", socketGroup), "--isolation="+isolation)
	if o.PIDs > 0 {
		args = append(args, fmt.Sprintf("--pids=%d", o.PIDs))
	}
	if o.CA != "" {
		args = append(args, "--ca="+trustDir+"/ca.crt")
	}
	if o.DockerHub != "" {
		args = append(args, "--registry-mirror="+o.DockerHub)
	}
	if !slices.ContainsFunc(o.EngineArgs, func(a string) bool { return strings.HasPrefix(a, "--log-level") || a == "--debug" || a == "-D" }) {
		args = append(args, "--log-level=warn")
	}
	args = append(args, fmt.Sprintf("--stop-timeout=%d", o.stopTimeout(job)))
	return append(args, o.EngineArgs...)
}

// stopTimeout has the engine end before Kubernetes's patience does. What a Job's containers
// would write goes with its volume, so nobody waits long for those that it left.
func (o *Options) stopTimeout(job bool) int64 {
	switch {
	case o.StopTimeout >= 0:
		return o.StopTimeout
	case job && o.Data != DataPVC:
		return 1
	}
	return max(1, o.Grace-5)
}

func (o *Options) engineSecurity() *security {
	if o.Level != Unprivileged {
		return &security{Privileged: ptr(true)}
	}
	return &security{
		Privileged: ptr(false), ProcMount: "Unmasked",
		Capabilities:    &capabilities{Add: []string{"SYS_ADMIN", "NET_ADMIN"}},
		SeccompProfile:  confinement(o.Seccomp),
		AppArmorProfile: confinement(o.AppArmor),
	}
}

func confinement(name string) *profile {
	if name == Unconfined || name == "RuntimeDefault" {
		return &profile{Type: name}
	}
	return &profile{Type: "Localhost", LocalhostProfile: name}
}

func (o *Options) engineResources() *resources {
	limits := amounts{CPU: o.CPUs, Memory: o.Memory, EphemeralStorage: o.EphemeralStorage}
	requests := limits
	for _, r := range []struct{ given, to *string }{
		{&o.CPUsRequest, &requests.CPU}, {&o.MemoryRequest, &requests.Memory}, {&o.EphemeralStorageRequest, &requests.EphemeralStorage},
	} {
		if *r.given != "" {
			*r.to = *r.given
		}
	}
	return bounds(requests, limits)
}

// bounds leaves out what says nothing.
func bounds(requests, limits amounts) *resources {
	r := &resources{}
	if requests != (amounts{}) {
		r.Requests = &requests
	}
	if limits != (amounts{}) {
		r.Limits = &limits
	}
	if *r == (resources{}) {
		return nil
	}
	return r
}

func (o *Options) client() container {
	limits := amounts{CPU: o.ClientCPUs, Memory: o.ClientMemory}
	c := container{
		Name: clientName, Image: o.ClientImage, Command: o.Command, WorkingDir: o.Workspace, Env: o.clientEnv(),
		SecurityContext:          &security{AllowPrivilegeEscalation: ptr(false), SeccompProfile: &profile{Type: "RuntimeDefault"}},
		Resources:                bounds(limits, limits),
		TerminationMessagePolicy: lastWords,
		VolumeMounts:             []mount{{Name: "socket", MountPath: socketDir}},
	}
	if o.Workspace != "" {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "workspace", MountPath: o.Workspace})
	}
	if o.DockerConfigSecret != "" {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "docker-config", MountPath: configDir, ReadOnly: true})
	}
	return c
}

// clientEnv leads every client of Docker's to the engine, testcontainers and berth's own
// package among them.
func (o *Options) clientEnv() []Env {
	host := "unix://" + socketDir + "/docker.sock"
	if o.Endpoint == EndpointTCP {
		host = "tcp://" + clientHost + ":2375"
	}
	env := []Env{
		{"DOCKER_HOST", host},
		{"BERTH_ENGINE", "docker"},
		// Where ports are that containers publish, and the socket as containers see it.
		{"TESTCONTAINERS_HOST_OVERRIDE", clientHost},
		{"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", "/var/run/docker.sock"},
	}
	if o.DockerConfigSecret != "" {
		env = append(env, Env{"DOCKER_CONFIG", configDir})
	}
	// A variable of the user's replaces one of ours.
	env = slices.DeleteFunc(env, func(e Env) bool {
		return slices.ContainsFunc(o.Env, func(u Env) bool { return u.Name == e.Name })
	})
	return append(env, o.Env...)
}

func (o *Options) volumes() []volume {
	var out []volume
	if v, ok := o.dataVolume(); ok {
		out = append(out, v)
	}
	out = append(out, volume{Name: "socket", EmptyDir: &emptyDir{}})
	if o.Workspace != "" {
		out = append(out, volume{Name: "workspace", EmptyDir: &emptyDir{}})
	}
	if files := o.certificates(); len(files) > 0 {
		v := volume{Name: "registries", ConfigMap: &configSource{Name: o.certificatesName()}}
		for _, f := range files {
			v.ConfigMap.Items = append(v.ConfigMap.Items, item{f.key, f.path})
		}
		out = append(out, v)
	}
	if o.CA != "" {
		out = append(out, volume{Name: "trust", ConfigMap: &configSource{Name: o.certificatesName(), Items: []item{{"ca.crt", "ca.crt"}}}})
	}
	if o.DockerConfigSecret != "" {
		out = append(out, volume{Name: "docker-config", Secret: &secretSource{o.DockerConfigSecret, []item{{".dockerconfigjson", "config.json"}}}})
	}
	return out
}

// dataVolume is the data root's, unless a StatefulSet has a claim for each pod.
func (o *Options) dataVolume() (volume, bool) {
	v := volume{Name: "data"}
	switch {
	case o.Data == DataPVC && o.DataClaim == "":
		return v, false
	case o.Data == DataPVC:
		v.PersistentVolumeClaim = &claimSource{o.DataClaim}
	case o.Data == DataEphemeral:
		v.Ephemeral = &ephemeral{claimTemplate{o.dataClaim()}}
	default:
		v.EmptyDir = &emptyDir{SizeLimit: o.DataSize}
	}
	return v, true
}

func (o *Options) dataClaim() claimSpec {
	return claimSpec{
		AccessModes: []string{"ReadWriteOnce"}, StorageClassName: o.StorageClass,
		Resources: resources{Requests: &amounts{Storage: o.DataSize}},
	}
}
