package kube

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/berth-dev/berth/internal/lazyregexp"
	"github.com/distribution/reference"
	"github.com/robfig/cron/v3"
)

// InputError is something that a manifest cannot be made of.
type InputError struct {
	Flag   string // of `berth kube`, as --name
	Reason string // what is wrong, and what to give instead
}

func (e *InputError) Error() string { return e.Flag + ": " + e.Reason }

func wrong(flag, format string, args ...any) error {
	return &InputError{flag, fmt.Sprintf(format, args...)}
}

// check is a list of small checks, of which the first that fails counts.
func (o *Options) check(kind string) error {
	longest := map[string]int{KindCronJob: 52, KindStatefulSet: 52}[kind] // Kubernetes adds to the names
	if longest == 0 {
		longest = 63
	}
	name := checkName("--name", o.Name, longest)
	if kind == KindStatefulSet {
		name = checkServiceName("--name", o.Name, longest)
	}
	checks := []error{
		name, checkNamespace(o.Namespace),
		checkImage("--image", o.Image), checkImage("--client-image", o.ClientImage),
		oneOf("--level", string(o.Level), string(Unprivileged), string(UserNS), string(Rootful)),
		oneOf("--endpoint", o.Endpoint, EndpointUnix, EndpointTCP),
		checkURL("--mirror", o.Mirror), checkURL("--registry-mirror", o.DockerHub),
		checkAmount("--memory", o.Memory), checkAmount("--memory-request", o.MemoryRequest),
		checkAmount("--client-memory", o.ClientMemory),
		checkAmount("--ephemeral-storage", o.EphemeralStorage), checkAmount("--ephemeral-storage-request", o.EphemeralStorageRequest),
		checkCPUs("--cpus", o.CPUs), checkCPUs("--cpus-request", o.CPUsRequest), checkCPUs("--client-cpus", o.ClientCPUs),
		atMost("--memory", o.Memory, o.MemoryRequest), atMost("--cpus", o.CPUs, o.CPUsRequest),
		atMost("--ephemeral-storage", o.EphemeralStorage, o.EphemeralStorageRequest),
		checkAmount("--data-size", o.DataSize), o.checkData(kind), checkPath("--workspace", o.Workspace),
		checkPIDs(o.PIDs), atLeast("--grace", o.Grace, 1), atLeast("--stop-timeout", o.StopTimeout, -1), atLeast("--replicas", o.Replicas, 0),
		atLeast("--backoff-limit", o.Job.BackoffLimit, 0), atLeast("--deadline", o.Job.Deadline, 0), atLeast("--ttl", o.Job.TTL, -1),
		checkOptional("--service-account", o.ServiceAccount), checkOptional("--pull-secret", o.PullSecret),
		checkOptional("--docker-config-secret", o.DockerConfigSecret), checkOptional("--runtime-class", o.RuntimeClass),
		checkOptional("--data-claim", o.DataClaim), checkOptional("--storage-class", o.StorageClass),
		o.checkMirrorCA(), o.checkEnv(), o.checkProfiles(),
	}
	if kind == KindCronJob {
		checks = append(checks, checkSchedule(o.Cron.Schedule), oneOf("--concurrency", o.Cron.Concurrency, "Allow", "Forbid", "Replace"))
	}
	if err := first(checks...); err != nil {
		return err
	}
	return o.checkCertificates()
}

func first(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// label is a name as most objects have it (RFC 1123, which Kubernetes has in lower case).
var (
	label     = lazyregexp.New(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomain = lazyregexp.New(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

func checkName(flag, name string, longest int) error {
	switch {
	case name == "":
		return wrong(flag, "needed; give a name such as build")
	case len(name) > longest:
		return wrong(flag, "%q has %d characters, of which Kubernetes allows %d here", name, len(name), longest)
	case !label().MatchString(name):
		return wrong(flag, "%q is no name in Kubernetes: give lower-case letters, digits and - between them", name)
	}
	return nil
}

// checkServiceName is for what has a Service of its name, which begins with a letter (RFC 1035).
func checkServiceName(flag, name string, longest int) error {
	err := checkName(flag, name, longest)
	if err == nil && (name[0] < 'a' || name[0] > 'z') {
		return wrong(flag, "%q is no name of a Service: give one that begins with a letter", name)
	}
	return err
}

func checkNamespace(name string) error {
	if name == "" {
		return nil
	}
	return checkName("--namespace", name, 63)
}

// checkOptional judges the name of an object that exists already.
func checkOptional(flag, name string) error {
	if name != "" && (len(name) > 253 || !subdomain().MatchString(name)) {
		return wrong(flag, "%q is no name in Kubernetes: give lower-case letters, digits, - and . between them", name)
	}
	return nil
}

func checkImage(flag, image string) error {
	if image == "" {
		return wrong(flag, "needed; give an image such as registry.example/team/image:1")
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return wrong(flag, "%q is no image's name: %v", image, err)
	}
	return nil
}

func oneOf(flag, value string, all ...string) error {
	if slices.Contains(all, value) {
		return nil
	}
	return wrong(flag, "%q; choose %s", value, strings.Join(all, ", "))
}

func checkURL(flag, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || !strings.Contains(text, "://") || u.Scheme != "http" && u.Scheme != "https":
		return wrong(flag, "%q is no URL with http:// or https://; give https://mirror.example:5443", text)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, "\"\\ \n"):
		return wrong(flag, "%q is not the URL of a mirror, such as https://mirror.example:5443", text)
	}
	return nil
}

func atLeast(flag string, n, least int64) error {
	if n < least {
		return wrong(flag, "%d; give at least %d", n, least)
	}
	return nil
}

// checkPIDs refuses what dockerd itself could not do with.
func checkPIDs(n int64) error {
	if n != 0 && n < 64 {
		return wrong("--pids", "%d; give at least 64, or 0 for the node's own limit", n)
	}
	return nil
}

// checkPath refuses what Kubernetes does, and what would hide the engine's own directories.
func checkPath(flag, p string) error {
	if p == "" {
		return nil
	}
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.Contains(p, ":") {
		return wrong(flag, "%q; give an absolute path such as /workspace", p)
	}
	for _, own := range []string{"/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var"} {
		if p == own || strings.HasPrefix(p, own+"/") {
			return wrong(flag, "%q is within %s, of which the engine has its own; give a path such as /workspace", p, own)
		}
	}
	return nil
}

func (o *Options) checkData(kind string) error {
	err := oneOf("--data", o.Data, DataEmptyDir, DataEphemeral, DataPVC)
	switch {
	case err != nil:
		return err
	case kind == KindStatefulSet && o.Data != DataPVC:
		return wrong("--data", "a StatefulSet has a claim for each of its pods: give %s", DataPVC)
	case kind == KindStatefulSet && o.DataClaim != "":
		return wrong("--data-claim", "a StatefulSet has claims of its own; leave it out")
	case o.Data == DataPVC && o.DataClaim == "" && kind != KindStatefulSet:
		return wrong("--data-claim", "needed with --data %s: the name of a claim", DataPVC)
	case o.Data != DataPVC && o.DataClaim != "":
		return wrong("--data-claim", "needs --data %s", DataPVC)
	case o.Data == DataPVC && o.Replicas > 1 && kind == KindDeployment:
		return wrong("--replicas", "two engines cannot have one claim; use `berth kube statefulset`")
	case (o.Data == DataEphemeral || kind == KindStatefulSet) && o.DataSize == "":
		return wrong("--data-size", "needed for a volume of a storage class: give 50Gi")
	case o.StorageClass != "" && o.Data != DataEphemeral && kind != KindStatefulSet:
		return wrong("--storage-class", "needs --data %s", DataEphemeral)
	}
	return nil
}

func (o *Options) checkMirrorCA() error {
	if o.MirrorCA != "" && !strings.HasPrefix(o.Mirror, "https://") {
		return wrong("--mirror-ca", "needs --mirror with an https:// URL")
	}
	return nil
}

var variable = lazyregexp.New(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)

func (o *Options) checkEnv() error {
	seen := map[string]bool{}
	for _, e := range o.Env {
		switch {
		case !variable().MatchString(e.Name):
			return wrong("--env", "%q is no name of a variable; give NAME=VALUE", e.Name)
		case seen[e.Name]:
			return wrong("--env", "%s is there twice; give it once", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

func (o *Options) checkProfiles() error {
	return first(checkProfile("--seccomp", o.Seccomp), checkProfile("--apparmor", o.AppArmor))
}

func checkProfile(flag, p string) error {
	if p == "" || path.IsAbs(p) || slices.Contains(strings.Split(p, "/"), "..") {
		return wrong(flag, "%q; give the name of a profile on the node, or %s", p, Unconfined)
	}
	return nil
}

// checkSchedule asks the parser that Kubernetes has.
func checkSchedule(s string) error {
	if strings.Contains(s, "TZ") {
		return wrong("--schedule", "%q has a time zone; give it as --time-zone", s)
	}
	if _, err := cron.ParseStandard(s); err != nil {
		return wrong("--schedule", "%q is no schedule (%v); give five fields as in crontab(5), such as \"30 2 * * *\"", s, err)
	}
	return nil
}

// labelPart is a label's value, and what its key has behind a slash
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set).
var labelPart = lazyregexp.New(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)

func checkLabels(flag string, labels map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		name := key
		if prefix, rest, ok := strings.Cut(key, "/"); ok {
			if name = rest; len(prefix) > 253 || !subdomain().MatchString(prefix) {
				return wrong(flag, "%q is no key of a label: before the /, give a name in DNS such as example.com", key)
			}
		}
		if !labelPart().MatchString(name) {
			return wrong(flag, "%q is no key of a label: give at most 63 letters, digits and - _ . between them", key)
		}
		if value := labels[key]; value != "" && !labelPart().MatchString(value) {
			return wrong(flag, "%q is no value of a label: give at most 63 letters, digits and - _ . between them", value)
		}
	}
	return nil
}

// maxData is how many bytes the data of a ConfigMap or a Secret may have
// (https://kubernetes.io/docs/concepts/configuration/configmap/).
const maxData = 1 << 20

func checkSize(flag string, o object) error {
	n := 0
	for _, data := range []map[string]string{o.Data, o.StringData} {
		for _, text := range data {
			n += len(text)
		}
	}
	if n > maxData {
		return wrong(flag, "%d bytes for the %s %s, of which Kubernetes allows %d; give fewer certificates", n, o.Kind, o.Metadata.Name, maxData)
	}
	return nil
}

// checkCertificates names the flag that gave the most.
func (o *Options) checkCertificates() error {
	c, ok := o.configMap()
	if !ok {
		return nil
	}
	registries := 0
	for _, r := range o.RegistryCAs {
		registries += len(r.PEM)
	}
	flag := "--registry-ca"
	switch most := max(registries, len(o.CA), len(o.MirrorCA)); most {
	case registries:
	case len(o.CA):
		flag = "--ca"
	default:
		flag = "--mirror-ca"
	}
	return checkSize(flag, c)
}
