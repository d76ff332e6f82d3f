package kube

import (
	"errors"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample has everything that can be said.
func sample() Options {
	o := Defaults()
	o.Name, o.Namespace, o.Image, o.ClientImage = "build", "ci", "registry.example/berth:1", "docker:cli"
	o.Command = []string{"docker", "pull", "busybox"}
	o.Env = []Env{{"NO_COLOR", "1"}}
	o.Memory, o.CPUs, o.EphemeralStorage, o.MemoryRequest, o.ClientMemory, o.PIDs = "4Gi", "2", "20Gi", "1Gi", "256Mi", 4096
	o.RegistryCAs = []RegistryCA{{"registry.example:5000", "PEM of a registry\n"}}
	o.CA = "PEM for everything\n"
	o.Mirror, o.MirrorCA = "https://berth-mirror.ci.svc:5443", "PEM of the mirror\n"
	o.DockerHub, o.DockerConfigSecret, o.PullSecret = "https://hub.example", "registry-login", "pull"
	return o
}

func TestManifests(t *testing.T) {
	simple := Defaults()
	simple.Name, simple.ClientImage, simple.Command = "build", "docker:cli", []string{"docker", "run", "--rm", "busybox", "true"}
	nightly := sample()
	nightly.Level, nightly.Cron.Schedule, nightly.Cron.TimeZone = Unprivileged, "30 2 * * *", "Etc/UTC"
	nightly.Job = JobOptions{BackoffLimit: 2, Deadline: 3600, TTL: 86400}
	kept := sample()
	kept.Level, kept.Data, kept.DataSize, kept.StorageClass, kept.Endpoint = Rootful, DataPVC, "50Gi", "fast", EndpointTCP
	ephemeral := sample()
	ephemeral.Data, ephemeral.DataSize = DataEphemeral, "50Gi"
	claimed := simple
	claimed.Data, claimed.DataClaim, claimed.Workspace = DataPVC, "images", ""
	for name, w := range map[string]struct {
		kind string
		o    Options
	}{
		"job": {KindJob, simple}, "cronjob": {KindCronJob, nightly}, "statefulset": {KindStatefulSet, kept},
		"deployment": {KindDeployment, ephemeral}, "deployment-claim": {KindDeployment, claimed},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Workload(w.kind, w.o)
			if err != nil {
				t.Fatal(err)
			}
			text, err := m.YAML()
			golden(t, name+".yaml", text, err)
		})
	}
}

func golden(t *testing.T, name string, got []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
	for dec := yaml.NewDecoder(strings.NewReader(string(got))); ; {
		var v map[string]any
		if err := dec.Decode(&v); err != nil {
			if err.Error() != "EOF" {
				t.Errorf("%s is no YAML: %v", name, err)
			}
			return
		}
	}
}

// The certificate holds for the name by which the mirror is announced, whether its namespace is
// known or not.
func TestMirrorNames(t *testing.T) {
	for namespace, want := range map[string][]string{"": {"m"}, "ci": {"m", "m.ci.svc", "m.ci.svc.cluster.local"}} {
		o := MirrorOptions{Name: "m", Namespace: namespace}
		if diff := cmp.Diff(want, o.names()); diff != "" {
			t.Errorf("%q: %s", namespace, diff)
		}
		if u, err := url.Parse(o.URL()); err != nil || !slices.Contains(o.names(), u.Hostname()) {
			t.Errorf("%q: it is announced as %s", namespace, o.URL())
		}
	}
}

func mirrorSample() MirrorOptions {
	return MirrorOptions{
		Name: "berth-mirror", Namespace: "ci", Image: "registry.example/berth:1", Size: "50Gi", StorageClass: "fast", CA: "PEM of the authority\n", Key: "its key\n",
		RegistryCAs: []RegistryCA{{"registry.example:5000", "PEM of a registry\n"}}, Upstreams: []string{"10.0.0.1:5000"},
		DockerConfigSecret: "registry-login", AllowFrom: map[string]string{"ci": "yes"}, Memory: "512Mi",
	}
}

func TestMirror(t *testing.T) {
	m, err := Mirror(mirrorSample())
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.YAML()
	golden(t, "mirror.yaml", text, err)
	m, err = Mirror(MirrorOptions{Name: "m", Image: "berth:1", DaemonSet: true, Size: "10Gi", CA: "PEM\n", Key: "key\n"})
	if err != nil {
		t.Fatal(err)
	}
	text, err = m.YAML()
	golden(t, "mirror-daemonset.yaml", text, err)
}

func TestDoctor(t *testing.T) {
	m, err := Doctor(DoctorOptions{Namespace: "ci", Image: "berth:1", RuntimeClass: "berth", Seccomp: SeccompProfile, AppArmor: Unconfined, Levels: Levels()})
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.YAML()
	golden(t, "doctor.yaml", text, err)
}

func TestOverlays(t *testing.T) {
	for _, runner := range Runners() {
		o := Defaults()
		o.Name, o.Memory = "berth", "4Gi"
		o.RegistryCAs = []RegistryCA{{"registry.example", "PEM of a registry\n"}}
		if runner == "jenkins" {
			o.Level = Unprivileged
		}
		text, err := Overlay(runner, o)
		golden(t, "overlay-"+runner+".yaml", text, err)
	}
}

// kubectl's annotation has line ends as two bytes.
func TestTooLargeToApply(t *testing.T) {
	for text, want := range map[string][]string{
		strings.Repeat("x", maxAnnotations-2000):             nil,
		strings.Repeat("x", maxAnnotations):                  {"ConfigMap/build-registries"},
		strings.Repeat(strings.Repeat("x", 63)+"\n", 255*16): {"ConfigMap/build-registries"},
	} {
		o := sample()
		o.RegistryCAs, o.CA, o.MirrorCA = nil, text, ""
		m, err := Workload(KindJob, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.TooLargeToApply(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes: %v (%v), want %v", len(text), got, err, want)
		}
	}
}

func TestKustomize(t *testing.T) {
	m, err := Workload(KindJob, sample())
	if err != nil {
		t.Fatal(err)
	}
	files, err := m.Kustomize()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"configmap-build-registries.yaml", "job-build.yaml", "kustomization.yaml"}, names); diff != "" {
		t.Error(diff)
	}
	golden(t, "kustomization.yaml", files[2].Data, nil)
}

func TestNodeSetup(t *testing.T) {
	parts, err := NodeSetup(NodeOptions{RuntimeClass: "other", NodeSelector: map[string]string{"berth.dev/unprivileged": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	all := string(Overview(parts))
	for _, want := range []string{
		"handler: other", "runtimes.other]", "runtimes.other.options]", "cgroup_writable = true", "SystemdCgroup = true", "berth.dev/unprivileged: \"true\"",
		"singleProcessOOMKill: true", "pivot_root", "keyctl", "profile berth-engine", "nft_masq",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}

// What Kubernetes takes is not refused.
func TestTaken(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) { o.Memory, o.MemoryRequest = "4Gi", "4294M" },
		func(o *Options) { o.Memory, o.MemoryRequest = "1.5k", "1500" },
		func(o *Options) { o.Memory, o.MemoryRequest = "", "1E" },
		func(o *Options) { o.CPUs, o.CPUsRequest = "1.5", "1500m" },
		func(o *Options) { o.Name = "1a" },
		func(o *Options) { o.Cron.Schedule = "@every 1h" },
		func(o *Options) { o.Cron.Schedule = "*/5 0-6,22 ? JAN-MAR mon" },
	} {
		o := sample()
		o.Cron.Schedule, o.MemoryRequest = "@daily", ""
		change(&o)
		if _, err := Workload(KindCronJob, o); err != nil {
			t.Error(err)
		}
	}
	o := mirrorSample()
	o.AllowFrom = map[string]string{"example.com/Team_1": "", "b": "X.y-z"}
	if _, err := Mirror(o); err != nil {
		t.Error(err)
	}
}

// What nobody may get, whatever was asked for.
func TestRefusals(t *testing.T) {
	large := strings.Repeat("x", maxData/2+1)
	for _, c := range []struct {
		kind, flag, want string
		change           func(*Options)
	}{
		{KindJob, "--name", "needed", func(o *Options) { o.Name = "" }},
		{KindJob, "--name", "lower-case", func(o *Options) { o.Name = "Build" }},
		{KindJob, "--name", "64 characters, of which Kubernetes allows 63", func(o *Options) { o.Name = strings.Repeat("a", 64) }},
		{KindCronJob, "--name", "allows 52", func(o *Options) { o.Name = strings.Repeat("a", 53) }},
		{KindJob, "--namespace", "lower-case", func(o *Options) { o.Namespace = "a.b" }},
		{KindJob, "--client-image", "needed", func(o *Options) { o.ClientImage = "" }},
		{KindJob, "--image", "no image's name", func(o *Options) { o.Image = "Bad Image" }},
		{KindJob, "--mirror", "http:// or https://", func(o *Options) { o.Mirror = "mirror.example:5443" }},
		{KindJob, "--registry-mirror", "http:// or https://", func(o *Options) { o.DockerHub = "ftp://x" }},
		{KindJob, "--mirror-ca", "needs --mirror", func(o *Options) { o.Mirror = "" }},
		{KindJob, "--memory", "give 512Mi", func(o *Options) { o.Memory = "512m" }},
		{KindJob, "--memory", "give 512Mi", func(o *Options) { o.Memory = "4g" }},
		{KindJob, "--memory", "give 512Mi", func(o *Options) { o.Memory = "0" }},
		{KindJob, "--cpus", "500m", func(o *Options) { o.CPUs = "two" }},
		{KindJob, "--pids", "at least 64", func(o *Options) { o.PIDs = 3 }},
		{KindJob, "--grace", "at least 1", func(o *Options) { o.Grace = 0 }},
		{KindJob, "--level", "choose unprivileged, userns, rootful", func(o *Options) { o.Level = "root" }},
		{KindJob, "--endpoint", "choose unix, tcp", func(o *Options) { o.Endpoint = "tls" }},
		{KindJob, "--data", "choose", func(o *Options) { o.Data = "disk" }},
		{KindJob, "--data-claim", "needed", func(o *Options) { o.Data = DataPVC }},
		{KindJob, "--data-size", "needed", func(o *Options) { o.Data = DataEphemeral }},
		{KindJob, "--storage-class", "needs --data ephemeral", func(o *Options) { o.StorageClass = "fast" }},
		{KindDeployment, "--replicas", "statefulset", func(o *Options) { o.Data, o.DataClaim, o.Replicas = DataPVC, "x", 2 }},
		{KindStatefulSet, "--data", "give pvc", func(o *Options) {}},
		{KindJob, "--workspace", "absolute", func(o *Options) { o.Workspace = "work" }},
		{KindJob, "--workspace", "within /usr", func(o *Options) { o.Workspace = "/usr/src" }},
		{KindJob, "--env", "NAME=VALUE", func(o *Options) { o.Env = []Env{{"A B", ""}} }},
		{KindJob, "--seccomp", "on the node", func(o *Options) { o.Seccomp = "../x" }},
		{KindCronJob, "--schedule", "five fields", func(o *Options) { o.Cron.Schedule = "daily" }},
		{KindCronJob, "--schedule", "above maximum", func(o *Options) { o.Cron.Schedule = "60 * * * *" }},
		{KindCronJob, "--schedule", "step", func(o *Options) { o.Cron.Schedule = "*/0 * * * *" }},
		{KindCronJob, "--schedule", "--time-zone", func(o *Options) { o.Cron.Schedule = "TZ=0" }},
		{KindCronJob, "--schedule", "--time-zone", func(o *Options) { o.Cron.Schedule = "CRON_TZ=UTC 0 * * * *" }},
		{KindJob, "--memory-request", "at most", func(o *Options) { o.Memory, o.MemoryRequest = "4Gi", "4295M" }},
		{KindJob, "--cpus-request", "at most", func(o *Options) { o.CPUs, o.CPUsRequest = "1.5", "1501m" }},
		{KindJob, "--ephemeral-storage-request", "more than --ephemeral-storage 1Gi", func(o *Options) { o.EphemeralStorage, o.EphemeralStorageRequest = "1Gi", "2Gi" }},
		{KindStatefulSet, "--name", "begins with a letter", func(o *Options) { o.Name, o.Data, o.DataSize = "1a", DataPVC, "1Gi" }},
		{KindJob, "--env", "A is there twice", func(o *Options) { o.Env = []Env{{"A", "1"}, {"A", "2"}} }},
		{KindJob, "--registry-ca", "allows 1048576", func(o *Options) { o.RegistryCAs = []RegistryCA{{"a", large}, {"b", large}} }},
		{KindJob, "--ca", "allows 1048576", func(o *Options) { o.CA = large + large }},
		{KindJob, "--mirror-ca", "allows 1048576", func(o *Options) { o.MirrorCA = large + large }},
		{KindJob, "--pull-secret", "no name", func(o *Options) { o.PullSecret = "A" }},
	} {
		o := sample()
		o.Cron.Schedule = "@daily"
		c.change(&o)
		m, err := Workload(c.kind, o)
		var input *InputError
		if !errors.As(err, &input) || input.Flag != c.flag || !strings.Contains(input.Reason, c.want) || m != nil {
			t.Errorf("%s: got %v, want %s: …%s…", c.kind, err, c.flag, c.want)
		}
	}
	for _, c := range []struct {
		flag   string
		change func(*MirrorOptions)
	}{
		{"--size", func(o *MirrorOptions) { o.Size = "" }},
		{"--size", func(o *MirrorOptions) { o.Size = "much" }},
		{"--storage-class", func(o *MirrorOptions) { o.DaemonSet = true }},
		{"--name", func(o *MirrorOptions) { o.Name = "1abc" }},
		{"--allow-from", func(o *MirrorOptions) { o.AllowFrom = map[string]string{"a b": "c"} }},
		{"--allow-from", func(o *MirrorOptions) { o.AllowFrom = map[string]string{"a": "b c"} }},
		{"--allow-from", func(o *MirrorOptions) { o.AllowFrom = map[string]string{"A_b/c": "d"} }},
		{"--allow-from", func(o *MirrorOptions) { o.AllowFrom = map[string]string{"a/b/c": ""} }},
		{"--allow-from", func(o *MirrorOptions) { o.AllowFrom = map[string]string{"a": strings.Repeat("b", 64)} }},
		{"--registry-ca", func(o *MirrorOptions) { o.RegistryCAs = []RegistryCA{{"a", large}, {"b", large}} }},
		{"--authority", func(o *MirrorOptions) { o.Key = large + large }},
	} {
		o := mirrorSample()
		c.change(&o)
		var input *InputError
		if m, err := Mirror(o); !errors.As(err, &input) || input.Flag != c.flag || m != nil {
			t.Errorf("a mirror: got %v, want %s", err, c.flag)
		}
	}
	if _, err := NodeSetup(NodeOptions{RuntimeClass: "x", NodeSelector: map[string]string{"a b": "c"}}); !errors.As(err, new(*InputError)) {
		t.Errorf("a selector that is none: %v", err)
	}
	if _, err := Overlay("travis", Defaults()); !errors.As(err, new(*InputError)) {
		t.Errorf("an unknown runner: %v", err)
	}
}
