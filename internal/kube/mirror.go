package kube

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
)

const (
	mirrorPort   = 5443
	mirrorState  = "/var/lib/berth"
	authorityDir = "/etc/berth/authority"
	mirrorUser   = 65532 // nobody in particular; as distroless images have it
)

// MirrorOptions describe a mirror of all registries for a cluster.
type MirrorOptions struct {
	Name, Namespace, Image string

	DaemonSet    bool   // one on each node, whose pods ask it
	Size         string // of the cache
	StorageClass string
	Ephemeral    bool // no claim: the cache goes with the pod

	CA, Key     string // PEM: the authority that signs the mirror's certificate
	RegistryCAs []RegistryCA
	Upstreams   []string // registries that may be on private addresses
	// DockerConfigSecret holds the mirror's own credentials.
	DockerConfigSecret string
	// AllowFrom are labels of the pods that may ask; none: every pod of the cluster.
	AllowFrom map[string]string

	Memory, CPUs string
}

// URL is how pods of the cluster reach the mirror.
func (o *MirrorOptions) URL() string {
	return fmt.Sprintf("https://%s:%d", o.host(), mirrorPort)
}

func (o *MirrorOptions) host() string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Name + "." + o.Namespace + ".svc"
}

// names are those that a Service has in the cluster's DNS, as far as they are known. The mirror's
// certificate holds for them.
func (o *MirrorOptions) names() []string {
	if o.Namespace == "" {
		return []string{o.Name}
	}
	return []string{o.Name, o.host(), o.host() + ".cluster.local"}
}

func (o *MirrorOptions) check() error {
	if o.Size == "" {
		return wrong("--size", "needed: how much is kept, such as 50Gi")
	}
	return first(
		checkServiceName("--name", o.Name, 63), checkNamespace(o.Namespace), checkImage("--image", o.Image),
		checkAmount("--size", o.Size), checkAmount("--memory", o.Memory), checkCPUs("--cpus", o.CPUs),
		checkOptional("--storage-class", o.StorageClass), checkOptional("--docker-config-secret", o.DockerConfigSecret),
		o.checkVolume(), checkLabels("--allow-from", o.AllowFrom),
		checkSize("--registry-ca", o.configMap()), checkSize("--authority", o.secret()),
	)
}

func (o *MirrorOptions) checkVolume() error {
	if o.StorageClass != "" && (o.DaemonSet || o.Ephemeral) {
		return wrong("--storage-class", "needs a claim: leave --daemonset and --ephemeral out")
	}
	return nil
}

// Mirror returns the manifest of a mirror: its certificate authority as a Secret and, for
// others, as a ConfigMap; the cache; and who may ask it.
func Mirror(o MirrorOptions) (Manifest, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := Manifest{o.configMap(), o.secret()}
	if !o.DaemonSet && !o.Ephemeral {
		m = append(m, object{APIVersion: "v1", Kind: "PersistentVolumeClaim", Metadata: o.meta(o.Name), Spec: claimSpec{
			AccessModes: []string{"ReadWriteOnce"}, StorageClassName: o.StorageClass, Resources: resources{Requests: &amounts{Storage: o.Size}},
		}})
	}
	return append(m, o.workload(), o.service(), o.policy()), nil
}

func (o *MirrorOptions) labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": o.Name}
}

func (o *MirrorOptions) meta(name string) meta { return described(name, o.Namespace, o.labels()) }

func (o *MirrorOptions) caName() string { return o.Name + "-ca" }

func (o *MirrorOptions) configMap() object {
	data := map[string]string{"ca.crt": o.CA}
	for _, r := range o.RegistryCAs {
		data[registryKey(r.Host)] = r.PEM
	}
	return object{
		APIVersion: "v1", Kind: "ConfigMap", Metadata: o.meta(o.caName()), Data: data,
		comments: map[string]string{"": "ca.crt is whom to trust for " + o.URL() + ": --mirror-ca of `berth kube job` and the like."},
	}
}

func registryKey(host string) string {
	return "registry-" + notInKeys().ReplaceAllString(host, "_") + ".crt"
}

func (o *MirrorOptions) secret() object {
	return object{
		APIVersion: "v1", Kind: "Secret", Metadata: o.meta(o.caName()), Type: "Opaque",
		StringData: map[string]string{"ca.crt": o.CA, "ca.key": o.Key},
		comments:   map[string]string{"": "The authority. The mirror has its certificates signed by it, and renews them by itself."},
	}
}

func (o *MirrorOptions) workload() object {
	w := object{APIVersion: "apps/v1", Metadata: o.meta(o.Name), comments: map[string]string{}}
	t := template{templateMeta{Labels: o.labels()}, o.pod()}
	if o.DaemonSet {
		w.Kind, w.Spec = "DaemonSet", daemonSet{selector{o.labels()}, t}
	} else {
		// Two mirrors cannot have one cache.
		w.Kind, w.Spec = "Deployment", deployment{Replicas: 1, Strategy: &strategy{"Recreate"}, Selector: selector{o.labels()}, Template: t}
	}
	return w
}

func (o *MirrorOptions) pod() podSpec {
	user := int64(mirrorUser)
	return podSpec{
		AutomountServiceAccountToken: ptr(false), EnableServiceLinks: ptr(false),
		SecurityContext: &podSecurity{
			RunAsNonRoot: ptr(true), RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, SeccompProfile: &profile{Type: "RuntimeDefault"},
		},
		Containers: []container{o.container()},
		Volumes:    o.volumes(),
	}
}

func (o *MirrorOptions) container() container {
	limits := amounts{CPU: o.CPUs, Memory: o.Memory}
	probe := func(path string) *probe {
		return &probe{HTTPGet: &httpGet{path, "https", "HTTPS"}, PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 3}
	}
	c := container{
		Name: "mirror", Image: o.Image, ImagePullPolicy: pullPolicy, Command: append([]string{"berth", "mirror", "serve"}, o.args()...),
		Env:   []Env{{"BERTH_STATE_DIR", mirrorState}, {"BERTH_RUN_DIR", "/tmp/berth"}},
		Ports: []port{{"https", mirrorPort}},
		SecurityContext: &security{
			AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true), Capabilities: &capabilities{Drop: []string{"ALL"}},
		},
		ReadinessProbe: probe("/readyz"), LivenessProbe: probe("/healthz"), Resources: bounds(limits, limits),
		VolumeMounts: []mount{
			{Name: "cache", MountPath: mirrorState}, {Name: "tmp", MountPath: "/tmp"},
			{Name: "authority", MountPath: authorityDir, ReadOnly: true},
		},
	}
	if len(o.RegistryCAs) > 0 {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "registries", MountPath: "/etc/berth/registries", ReadOnly: true})
	}
	if o.DockerConfigSecret != "" {
		c.VolumeMounts = append(c.VolumeMounts, mount{Name: "docker-config", MountPath: configDir, ReadOnly: true})
	}
	return c
}

// args have the mirror keep a tenth of its volume free.
func (o *MirrorOptions) args() []string {
	args := []string{fmt.Sprintf("--listen=0.0.0.0:%d", mirrorPort), "--socket=none", "--authority=" + authorityDir}
	if size, err := sizeOf(o.Size); err == nil {
		args = append(args, fmt.Sprintf("--max-size=%d", size/10*9))
	}
	for _, name := range o.names() {
		args = append(args, "--name="+name)
	}
	for _, r := range o.RegistryCAs {
		args = append(args, "--registry-ca="+r.Host+"=/etc/berth/registries/"+registryKey(r.Host))
	}
	for _, u := range o.Upstreams {
		args = append(args, "--upstream="+u)
	}
	if o.DockerConfigSecret != "" {
		args = append(args, "--docker-config="+configDir+"/config.json")
	}
	return args
}

// sizeOf is a quantity in bytes.
func sizeOf(quantity string) (int64, error) {
	if strings.HasSuffix(quantity, "i") {
		return units.RAMInBytes(quantity + "B")
	}
	return units.FromHumanSize(quantity)
}

func (o *MirrorOptions) volumes() []volume {
	cache := volume{Name: "cache", PersistentVolumeClaim: &claimSource{o.Name}}
	if o.DaemonSet || o.Ephemeral {
		cache = volume{Name: "cache", EmptyDir: &emptyDir{SizeLimit: o.Size}}
	}
	out := []volume{cache, {Name: "tmp", EmptyDir: &emptyDir{}}, {Name: "authority", Secret: &secretSource{SecretName: o.caName()}}}
	if len(o.RegistryCAs) > 0 {
		out = append(out, volume{Name: "registries", ConfigMap: &configSource{Name: o.caName()}})
	}
	if o.DockerConfigSecret != "" {
		out = append(out, volume{Name: "docker-config", Secret: &secretSource{o.DockerConfigSecret, []item{{".dockerconfigjson", "config.json"}}}})
	}
	return out
}

func (o *MirrorOptions) service() object {
	s := service{Selector: o.labels(), Ports: []servicePort{{"https", mirrorPort, "https"}}}
	comments := map[string]string{}
	if o.DaemonSet {
		s.InternalTrafficPolicy = "Local"
		comments["spec.internalTrafficPolicy"] = "Each node's pods ask the mirror of their node."
	}
	return object{APIVersion: "v1", Kind: "Service", Metadata: o.meta(o.Name), Spec: s, comments: comments}
}

func (o *MirrorOptions) policy() object {
	from := peer{NamespaceSelector: map[string]any{}}
	if len(o.AllowFrom) > 0 {
		from.PodSelector = &selector{o.AllowFrom}
	}
	return object{
		APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Metadata: o.meta(o.Name),
		Spec: networkPolicy{
			PodSelector: selector{o.labels()}, PolicyTypes: []string{"Ingress"},
			Ingress: []ingress{{From: []peer{from}, Ports: []policyPort{{"TCP", "https"}}}},
		},
		comments: map[string]string{"": "Who may ask the mirror: pods, nobody from outside the cluster."},
	}
}
