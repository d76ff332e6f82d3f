package kube

// DoctorName is what the Jobs of [Doctor] have as their name, with the level after it.
const DoctorName = "berth-doctor"

// DoctorOptions describe the Jobs that try out what a cluster allows.
type DoctorOptions struct {
	Namespace, Image, RuntimeClass string
	Seccomp, AppArmor              string
	Levels                         []Level
}

// Doctor returns a Job for each level, whose pod starts an engine of that level and says in
// its log how that went and what would have to be changed. A pod that the cluster does not
// admit has no log: the Job's events say why.
func Doctor(o DoctorOptions) (Manifest, error) {
	var m Manifest
	for _, level := range o.Levels {
		w := Defaults()
		w.Name, w.Namespace, w.Image, w.ClientImage = DoctorName+"-"+string(level), o.Namespace, o.Image, o.Image
		w.Level, w.RuntimeClass, w.Seccomp, w.AppArmor, w.Workspace = level, o.RuntimeClass, o.Seccomp, o.AppArmor, ""
		if err := w.check(KindJob); err != nil {
			return nil, err
		}
		labels := map[string]string{"app.kubernetes.io/name": DoctorName, "app.kubernetes.io/component": string(level)}
		pod := w.pod("Never")
		// The engine is not a sidecar here: it is what is looked at.
		c := pod.InitContainers[0]
		c.Name, c.RestartPolicy, c.Args = "doctor", "", nil
		c.Command = []string{"berth", "kube", "check", "--level=" + string(level)}
		c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = nil, nil, nil
		c.VolumeMounts = []mount{{Name: "data", MountPath: dataPath}}
		pod.InitContainers, pod.Containers, pod.SecurityContext = nil, []container{c}, nil
		pod.Volumes = []volume{{Name: "data", EmptyDir: &emptyDir{}}}
		m = append(m, object{
			APIVersion: "batch/v1", Kind: "Job", Metadata: described(w.Name, w.Namespace, labels),
			Spec: job{
				ActiveDeadlineSeconds: ptr(int64(300)), TTLSecondsAfterFinished: ptr(int64(3600)),
				Template: template{templateMeta{Labels: labels}, pod},
			},
			comments: map[string]string{"": "Does this cluster allow engines of the level " + string(level) + "?"},
		})
	}
	return m, nil
}

// Levels are all levels, the one that trusts an engine least first.
func Levels() []Level { return []Level{Unprivileged, UserNS, Rootful} }
