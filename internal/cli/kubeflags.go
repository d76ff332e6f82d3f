package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/kube"
	"github.com/berth-dev/berth/internal/trust"
)

// kubeFlags are the flags of the verbs that write pods.
type kubeFlags struct {
	kube.Options
	values           string // a file
	registryCAs, cas []string
	mirrorCA         string
	env              []string
}

func (f *kubeFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.values, "values", "f", "", "read flags from a YAML `FILE`, in which each has its long name (- for standard input)")
	fs.StringVar(&f.Name, "name", f.Name, "what the objects are called")
	fs.StringVarP(&f.Namespace, "namespace", "n", "", "namespace of the objects (default: the one kubectl is set to)")
	fs.StringVar(&f.Image, "image", f.Image, "berth's container image, for the engine")
	fs.StringVar(&f.ClientImage, "client-image", "", "image of the client")
	fs.StringArrayVar(&f.env, "env", nil, "a variable of the client: `NAME=VALUE`")
	fs.StringVar(&f.Workspace, "workspace", f.Workspace, "the client's directory, which the engine sees at the same path; empty for none")
	fs.StringVar(&f.ServiceAccount, "service-account", "", "the pod's ServiceAccount, with its token (default: no token)")
	fs.StringVar((*string)(&f.Level), "level", string(f.Level), "privileges: unprivileged (see node-setup), userns or rootful")
	fs.StringVar(&f.Endpoint, "endpoint", f.Endpoint, "where the client finds the engine: unix (a socket) or tcp (127.0.0.1:2375)")
	fs.StringArrayVar(&f.EngineArgs, "engine-arg", nil, "a `FLAG` for dockerd, such as --engine-arg=--debug")

	fs.StringVar(&f.Memory, "memory", "", "most memory of everything in the engine, such as 4Gi")
	fs.StringVar(&f.CPUs, "cpus", "", "most processors, such as 2 or 500m")
	fs.StringVar(&f.EphemeralStorage, "ephemeral-storage", "", "most disk of the pod, its emptyDirs with it, such as 20Gi")
	fs.Int64Var(&f.PIDs, "pids", 0, "most processes of the engine's containers; 0 for the node's limit")
	fs.StringVar(&f.MemoryRequest, "memory-request", "", "memory that is set aside (default: as --memory)")
	fs.StringVar(&f.CPUsRequest, "cpus-request", "", "processors that are set aside (default: as --cpus)")
	fs.StringVar(&f.EphemeralStorageRequest, "ephemeral-storage-request", "", "disk that is set aside (default: as --ephemeral-storage)")
	fs.StringVar(&f.ClientMemory, "client-memory", "", "most memory of the client")
	fs.StringVar(&f.ClientCPUs, "client-cpus", "", "most processors of the client")

	fs.StringVar(&f.Data, "data", f.Data, "where images and containers are: emptyDir, ephemeral (a volume of a storage class) or pvc")
	fs.StringVar(&f.DataSize, "data-size", "", "size of that volume, such as 50Gi")
	fs.StringVar(&f.StorageClass, "storage-class", "", "its storage class (default: the cluster's)")
	fs.StringVar(&f.DataClaim, "data-claim", "", "with --data pvc: the PersistentVolumeClaim's name")

	fs.StringArrayVar(&f.registryCAs, "registry-ca", nil, registryCAHelp)
	fs.StringArrayVar(&f.cas, "ca", nil, caHelp+" for everything in the engine")
	fs.StringVar(&f.Mirror, "mirror", "", "`URL` of a mirror of all registries, such as `berth kube mirror` makes")
	fs.StringVar(&f.mirrorCA, "mirror-ca", "", "`FILE` with the certificates to trust for the mirror")
	fs.StringVar(&f.DockerHub, "registry-mirror", "", "`URL` of a mirror of Docker Hub alone")
	fs.StringVar(&f.DockerConfigSecret, "docker-config-secret", "", "Secret (kubernetes.io/dockerconfigjson) with the client's credentials for registries")
	fs.StringVar(&f.PullSecret, "pull-secret", "", "Secret that the pod's own images are pulled with")

	fs.Int64Var(&f.Grace, "grace", f.Grace, "seconds that the pod is given to end")
	fs.Int64Var(&f.StopTimeout, "stop-timeout", f.StopTimeout, "seconds of them that the engine's containers are; -1 for one in a Job, else all but five")
	fs.StringVar(&f.RuntimeClass, "runtime-class", f.RuntimeClass, "RuntimeClass of the level unprivileged")
	fs.StringVar(&f.Seccomp, "seccomp", f.Seccomp, "seccomp profile of the level unprivileged, on the node, or Unconfined")
	fs.StringVar(&f.AppArmor, "apparmor", f.AppArmor, "AppArmor profile of the level unprivileged, such as "+kube.AppArmorProfile)
}

// registerKind adds the flags that only one kind of object has.
func (f *kubeFlags) registerKind(cmd *cobra.Command, kind string) {
	fs := cmd.Flags()
	switch kind {
	case kube.KindCronJob:
		fs.StringVar(&f.Cron.Schedule, "schedule", "", "when, as crontab(5) has it, such as '30 2 * * *'")
		fs.StringVar(&f.Cron.TimeZone, "time-zone", "", "of the schedule, such as Europe/Berlin")
		fs.StringVar(&f.Cron.Concurrency, "concurrency", f.Cron.Concurrency, "when the last one is still at work: Allow, Forbid or Replace")
		fallthrough
	case kube.KindJob:
		fs.Int64Var(&f.Job.BackoffLimit, "backoff-limit", 0, "how often a client that failed is started again")
		fs.Int64Var(&f.Job.Deadline, "deadline", 0, "seconds that the Job may take; 0 for any number")
		fs.Int64Var(&f.Job.TTL, "ttl", f.Job.TTL, "seconds that an ended Job is kept; -1 for ever")
	default:
		fs.Int64Var(&f.Replicas, "replicas", f.Replicas, "how many pods")
	}
}

// parse reads the file of values, and the files that flags name.
func (f *kubeFlags) parse(cmd *cobra.Command, args []string) error {
	if at := cmd.ArgsLenAtDash(); at < 0 && len(args) > 0 && cmd.Name() != "overlay" {
		return fmt.Errorf("unexpected argument %q; the client's command comes after --", args[0])
	}
	if len(args) > 0 {
		f.Command = args
	}
	if f.values != "" {
		if err := applyValues(cmd, f.values, &f.Command); err != nil {
			return fmt.Errorf("--values: %w", err)
		}
	}
	for _, s := range f.env {
		e, ok := kube.EnvOf(s)
		if !ok {
			return fmt.Errorf("--env %s: give NAME=VALUE", s)
		}
		f.Env = append(f.Env, e)
	}
	return f.parseTrust()
}

func (f *kubeFlags) parseTrust() error {
	var err error
	if f.RegistryCAs, err = kubeRegistryCAs(f.registryCAs); err != nil {
		return err
	}
	for _, path := range f.cas {
		text, err := trust.Read(path)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		f.CA += text
	}
	if f.mirrorCA != "" {
		if f.MirrorCA, err = trust.Read(f.mirrorCA); err != nil {
			return fmt.Errorf("--mirror-ca: %w", err)
		}
	}
	return nil
}

func kubeRegistryCAs(list []string) ([]kube.RegistryCA, error) {
	var out []kube.RegistryCA
	seen := map[string]bool{}
	for _, s := range list {
		ca, err := parseRegistryCA(s)
		if err == nil {
			err = certsd.CheckRegistry(ca.Host)
		}
		if err == nil && seen[ca.Host] {
			err = errors.New("this registry has one already; put all its certificates into one file")
		}
		if err != nil {
			return nil, fmt.Errorf("--registry-ca %s: %w", s, err)
		}
		seen[ca.Host] = true
		out = append(out, kube.RegistryCA{Host: ca.Host, PEM: ca.PEM})
	}
	return out, nil
}
