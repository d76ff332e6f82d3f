package kube

// The fields of Kubernetes's objects that berth uses, in the order in which people write them.

type meta struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// object is any object; which of the parts it has depends on its kind.
type object struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   meta              `yaml:"metadata"`
	Handler    string            `yaml:"handler,omitempty"`
	Scheduling *scheduling       `yaml:"scheduling,omitempty"`
	Data       map[string]string `yaml:"data,omitempty"`
	Type       string            `yaml:"type,omitempty"`
	StringData map[string]string `yaml:"stringData,omitempty"`
	Spec       any               `yaml:"spec,omitempty"`

	comments map[string]string // by path, see annotate
}

type scheduling struct {
	NodeSelector map[string]string `yaml:"nodeSelector"`
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type strategy struct {
	Type string `yaml:"type"`
}

type template struct {
	Metadata templateMeta `yaml:"metadata"`
	Spec     podSpec      `yaml:"spec"`
}

type templateMeta struct {
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type deployment struct {
	Replicas int64     `yaml:"replicas"`
	Strategy *strategy `yaml:"strategy,omitempty"`
	Selector selector  `yaml:"selector"`
	Template template  `yaml:"template"`
}

type daemonSet struct {
	Selector selector `yaml:"selector"`
	Template template `yaml:"template"`
}

type statefulSet struct {
	Replicas             int64    `yaml:"replicas"`
	ServiceName          string   `yaml:"serviceName"`
	Selector             selector `yaml:"selector"`
	Template             template `yaml:"template"`
	VolumeClaimTemplates []claim  `yaml:"volumeClaimTemplates"`
}

type job struct {
	BackoffLimit            int64    `yaml:"backoffLimit"`
	ActiveDeadlineSeconds   *int64   `yaml:"activeDeadlineSeconds,omitempty"`
	TTLSecondsAfterFinished *int64   `yaml:"ttlSecondsAfterFinished,omitempty"`
	Template                template `yaml:"template"`
}

type cronJob struct {
	Schedule          string      `yaml:"schedule"`
	TimeZone          string      `yaml:"timeZone,omitempty"`
	ConcurrencyPolicy string      `yaml:"concurrencyPolicy"`
	JobTemplate       jobTemplate `yaml:"jobTemplate"`
}

type jobTemplate struct {
	Spec job `yaml:"spec"`
}

type podSpec struct {
	HostUsers                     *bool        `yaml:"hostUsers,omitempty"`
	RuntimeClassName              string       `yaml:"runtimeClassName,omitempty"`
	ServiceAccountName            string       `yaml:"serviceAccountName,omitempty"`
	AutomountServiceAccountToken  *bool        `yaml:"automountServiceAccountToken,omitempty"`
	EnableServiceLinks            *bool        `yaml:"enableServiceLinks,omitempty"`
	RestartPolicy                 string       `yaml:"restartPolicy,omitempty"`
	TerminationGracePeriodSeconds *int64       `yaml:"terminationGracePeriodSeconds,omitempty"`
	ImagePullSecrets              []named      `yaml:"imagePullSecrets,omitempty"`
	SecurityContext               *podSecurity `yaml:"securityContext,omitempty"`
	InitContainers                []container  `yaml:"initContainers,omitempty"`
	Containers                    []container  `yaml:"containers"`
	Volumes                       []volume     `yaml:"volumes,omitempty"`
}

type podSecurity struct {
	RunAsNonRoot       *bool    `yaml:"runAsNonRoot,omitempty"`
	RunAsUser          *int64   `yaml:"runAsUser,omitempty"`
	RunAsGroup         *int64   `yaml:"runAsGroup,omitempty"`
	FSGroup            *int64   `yaml:"fsGroup,omitempty"`
	SupplementalGroups []int64  `yaml:"supplementalGroups,omitempty,flow"`
	SeccompProfile     *profile `yaml:"seccompProfile,omitempty"`
}

type named struct {
	Name string `yaml:"name"`
}

type container struct {
	Name            string     `yaml:"name"`
	Image           string     `yaml:"image,omitempty"`
	ImagePullPolicy string     `yaml:"imagePullPolicy,omitempty"`
	RestartPolicy   string     `yaml:"restartPolicy,omitempty"`
	Command         []string   `yaml:"command,omitempty"`
	Args            []string   `yaml:"args,omitempty"`
	WorkingDir      string     `yaml:"workingDir,omitempty"`
	Env             []Env      `yaml:"env,omitempty"`
	Ports           []port     `yaml:"ports,omitempty"`
	SecurityContext *security  `yaml:"securityContext,omitempty"`
	StartupProbe    *probe     `yaml:"startupProbe,omitempty"`
	ReadinessProbe  *probe     `yaml:"readinessProbe,omitempty"`
	LivenessProbe   *probe     `yaml:"livenessProbe,omitempty"`
	Resources       *resources `yaml:"resources,omitempty"`
	// ComputeResources are the Resources of a container in a Task.
	ComputeResources *resources `yaml:"computeResources,omitempty"`
	VolumeMounts     []mount    `yaml:"volumeMounts,omitempty"`
	// TerminationMessagePolicy has a failure's reason shown by `kubectl describe pod`.
	TerminationMessagePolicy string `yaml:"terminationMessagePolicy,omitempty"`
}

type port struct {
	Name          string `yaml:"name"`
	ContainerPort int64  `yaml:"containerPort"`
}

type security struct {
	Privileged               *bool         `yaml:"privileged,omitempty"`
	AllowPrivilegeEscalation *bool         `yaml:"allowPrivilegeEscalation,omitempty"`
	ReadOnlyRootFilesystem   *bool         `yaml:"readOnlyRootFilesystem,omitempty"`
	ProcMount                string        `yaml:"procMount,omitempty"`
	Capabilities             *capabilities `yaml:"capabilities,omitempty"`
	SeccompProfile           *profile      `yaml:"seccompProfile,omitempty"`
	AppArmorProfile          *profile      `yaml:"appArmorProfile,omitempty"`
}

type capabilities struct {
	Add  []string `yaml:"add,omitempty,flow"`
	Drop []string `yaml:"drop,omitempty,flow"`
}

type profile struct {
	Type             string `yaml:"type"`
	LocalhostProfile string `yaml:"localhostProfile,omitempty"`
}

type probe struct {
	Exec             *execAction `yaml:"exec,omitempty"`
	HTTPGet          *httpGet    `yaml:"httpGet,omitempty"`
	PeriodSeconds    int64       `yaml:"periodSeconds,omitempty"`
	TimeoutSeconds   int64       `yaml:"timeoutSeconds,omitempty"`
	FailureThreshold int64       `yaml:"failureThreshold,omitempty"`
}

type execAction struct {
	Command []string `yaml:"command,flow"`
}

type httpGet struct {
	Path   string `yaml:"path"`
	Port   any    `yaml:"port"`
	Scheme string `yaml:"scheme,omitempty"`
}

type resources struct {
	Requests *amounts `yaml:"requests,omitempty"`
	Limits   *amounts `yaml:"limits,omitempty"`
}

type amounts struct {
	CPU              string `yaml:"cpu,omitempty"`
	Memory           string `yaml:"memory,omitempty"`
	EphemeralStorage string `yaml:"ephemeral-storage,omitempty"`
	Storage          string `yaml:"storage,omitempty"`
}

type mount struct {
	Name      string `yaml:"name"`
	MountPath string `yaml:"mountPath"`
	SubPath   string `yaml:"subPath,omitempty"`
	ReadOnly  bool   `yaml:"readOnly,omitempty"`
}

type volume struct {
	Name                  string        `yaml:"name"`
	EmptyDir              *emptyDir     `yaml:"emptyDir,omitempty"`
	ConfigMap             *configSource `yaml:"configMap,omitempty"`
	Secret                *secretSource `yaml:"secret,omitempty"`
	Ephemeral             *ephemeral    `yaml:"ephemeral,omitempty"`
	PersistentVolumeClaim *claimSource  `yaml:"persistentVolumeClaim,omitempty"`
	HostPath              *hostPath     `yaml:"hostPath,omitempty"`
}

type emptyDir struct {
	SizeLimit string `yaml:"sizeLimit,omitempty"`
}

type configSource struct {
	Name  string `yaml:"name"`
	Items []item `yaml:"items,omitempty"`
}

type secretSource struct {
	SecretName string `yaml:"secretName"`
	Items      []item `yaml:"items,omitempty"`
}

type item struct {
	Key  string `yaml:"key"`
	Path string `yaml:"path"`
}

type hostPath struct {
	Path string `yaml:"path"`
	Type string `yaml:"type"`
}

type claimSource struct {
	ClaimName string `yaml:"claimName"`
}

type ephemeral struct {
	VolumeClaimTemplate claimTemplate `yaml:"volumeClaimTemplate"`
}

type claimTemplate struct {
	Spec claimSpec `yaml:"spec"`
}

type claim struct {
	Metadata templateName `yaml:"metadata"`
	Spec     claimSpec    `yaml:"spec"`
}

type templateName struct {
	Name string `yaml:"name"`
}

type claimSpec struct {
	AccessModes      []string  `yaml:"accessModes,flow"`
	StorageClassName string    `yaml:"storageClassName,omitempty"`
	Resources        resources `yaml:"resources"`
}

type service struct {
	ClusterIP             string            `yaml:"clusterIP,omitempty"`
	InternalTrafficPolicy string            `yaml:"internalTrafficPolicy,omitempty"`
	Selector              map[string]string `yaml:"selector"`
	Ports                 []servicePort     `yaml:"ports,omitempty"`
}

type servicePort struct {
	Name       string `yaml:"name"`
	Port       int64  `yaml:"port"`
	TargetPort any    `yaml:"targetPort"`
}

type networkPolicy struct {
	PodSelector selector  `yaml:"podSelector"`
	PolicyTypes []string  `yaml:"policyTypes,flow"`
	Ingress     []ingress `yaml:"ingress"`
}

type ingress struct {
	From  []peer       `yaml:"from"`
	Ports []policyPort `yaml:"ports"`
}

type peer struct {
	NamespaceSelector map[string]any `yaml:"namespaceSelector"`
	PodSelector       *selector      `yaml:"podSelector,omitempty"`
}

type policyPort struct {
	Protocol string `yaml:"protocol"`
	Port     any    `yaml:"port"`
}

func ptr[T any](v T) *T { return &v }
