// Package kube writes the Kubernetes manifests of pods with an engine in them, and of the
// mirror, and says what a node has to be set up with for the least of privileges.
//
// It is pure: it reads and writes nothing, talks to no cluster, and holds only those fields
// of Kubernetes's objects that it uses (https://kubernetes.io/docs/reference/kubernetes-api/).
// Quantities are text as Kubernetes has it (4Gi, 500m); times are seconds. Everything is
// judged before anything is written; the errors name the flag of `berth kube` that was wrong.
package kube

import "strings"

// Level is how much of the node a pod's engine is trusted with.
type Level string

const (
	// Unprivileged has the pod in a user namespace (hostUsers: false) and the engine in it
	// with two capabilities. The nodes have to be set up for it: see [NodeSetup].
	Unprivileged Level = "unprivileged"
	// UserNS has a privileged container, whose power berth gives up: the engine is in a user
	// namespace that berth makes. It works on every cluster that admits privileged pods.
	UserNS Level = "userns"
	// Rootful has a privileged container and an engine whose root is the node's.
	Rootful Level = "rootful"
)

// Kinds of volumes for an engine's data root.
const (
	DataEmptyDir  = "emptyDir"  // goes with the pod
	DataEphemeral = "ephemeral" // a volume of a storage class, which goes with the pod as well
	DataPVC       = "pvc"       // a claim, which stays
)

// Where clients find the engine.
const (
	EndpointUnix = "unix" // a socket in a volume that the pod's containers share
	EndpointTCP  = "tcp"  // port 2375 on the pod's loopback address
)

// Options describe a pod with an engine and a client.
type Options struct {
	Name, Namespace string
	Image           string // of the engine: berth's container image, which a node pulls when it has none of that name

	// The client.
	ClientImage    string
	Command        []string // empty: the image's own
	Env            []Env
	Workspace      string // directory that the engine sees at the same path; "" for none
	ServiceAccount string // "" for none, and no token in the pod

	Level      Level
	Endpoint   string
	EngineArgs []string // for dockerd

	// Limits of everything in the engine, and of the client; "" and 0 for none.
	Memory, CPUs, EphemeralStorage                      string
	MemoryRequest, CPUsRequest, EphemeralStorageRequest string // "": as the limit
	ClientMemory, ClientCPUs                            string
	PIDs                                                int64

	Data         string // DataEmptyDir, DataEphemeral or DataPVC
	DataSize     string
	StorageClass string
	DataClaim    string // an existing claim, for DataPVC

	RegistryCAs []RegistryCA
	CA          string // PEM: authorities to trust for everything
	Mirror      string // URL of a mirror for all registries
	MirrorCA    string // PEM: whom to trust for the mirror, in the pod's own ConfigMap
	DockerHub   string // URL of a mirror of Docker Hub, dockerd's --registry-mirror

	DockerConfigSecret string // kubernetes.io/dockerconfigjson, for the client
	PullSecret         string // for the pod's own images

	Grace        int64  // seconds that the pod is given to end
	StopTimeout  int64  // seconds of them that the engine's containers are; -1: as suits the kind
	RuntimeClass string // of Unprivileged
	Seccomp      string // of Unprivileged: a profile below the kubelet's directory, or Unconfined
	AppArmor     string // of Unprivileged: a profile that is loaded on the node, or Unconfined

	Job  JobOptions
	Cron CronOptions
	// Replicas is for Deployments and StatefulSets.
	Replicas int64
}

// JobOptions are what only Jobs have.
type JobOptions struct {
	BackoffLimit int64 // how often a failed client is started again
	Deadline     int64 // seconds; 0 for none
	TTL          int64 // seconds for which an ended Job is kept; -1 for ever
}

// CronOptions are what only CronJobs have.
type CronOptions struct {
	Schedule    string // as crontab(5) has it
	TimeZone    string
	Concurrency string // Allow, Forbid or Replace
}

// RegistryCA is whom to trust for one registry.
type RegistryCA struct{ Host, PEM string }

// Env is a variable of the client's.
type Env struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// Defaults are what the flags of `berth kube` begin with.
func Defaults() Options {
	return Options{
		Image: "berth:latest", ClientImage: "", Workspace: "/workspace",
		Level: UserNS, Endpoint: EndpointUnix, Data: DataEmptyDir, Grace: 30, StopTimeout: -1,
		RuntimeClass: RuntimeClassName, Seccomp: SeccompProfile, AppArmor: Unconfined,
		Job: JobOptions{TTL: -1}, Cron: CronOptions{Concurrency: "Forbid"}, Replicas: 1,
	}
}

// Unconfined is a profile that forbids nothing.
const Unconfined = "Unconfined"

// EnvOf splits NAME=VALUE.
func EnvOf(s string) (Env, bool) {
	name, value, ok := strings.Cut(s, "=")
	return Env{name, value}, ok && name != ""
}
