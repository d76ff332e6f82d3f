package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/doctor"
)

// Isolation says how far the engine is kept from the container that it works for.
type Isolation string

const (
	Auto    Isolation = ""        // UserNS where that can be had, else None
	UserNS  Isolation = "userns"  // namespaces of its own; its root is nobody in the container
	Rootful Isolation = "rootful" // namespaces of its own; its root is the container's
	None    Isolation = "none"    // dockerd in the container's namespaces, as docker:dind has it
)

func (i Isolation) check() error {
	switch i {
	case Auto, UserNS, Rootful, None:
		return nil
	}
	return fmt.Errorf("--isolation %s: choose userns, rootful or none", i)
}

// choose decides on an isolation and says why, or which options of `docker run` would make
// the one that was asked for possible.
func choose(asked Isolation) (Isolation, string, error) {
	missing := lacking()
	nested := missing.forNested()
	switch {
	case asked == None || asked == Auto && nested != "":
		if list := missing.forHere(); len(list) > 0 {
			if inPod() {
				return "", "", fmt.Errorf("this pod may not run an engine; the container needs %s (or privileged: true, which this image uses to give up the privileges); see `berth kube --help`", strings.Join(missing.forPod(), ", "))
			}
			return "", "", fmt.Errorf("this container may not run an engine; add to docker run: %s (or --privileged, which this image uses to give up the privileges)", strings.Join(list, " "))
		}
		if asked == None {
			return None, "asked for", nil
		}
		return None, "dockerd runs in the container's own namespaces: " + nested, nil
	case nested != "" && inPod():
		return "", "", fmt.Errorf("--isolation %s needs securityContext: {privileged: true} in a pod of the node's user namespace: %s", asked, nested)
	case nested != "":
		return "", "", fmt.Errorf("--isolation %s needs docker run --privileged: %s", asked, nested)
	case asked == Auto:
		return UserNS, "the engine's root is nobody in this container", nil
	}
	return asked, "asked for", nil
}

// lack is what a container is not allowed or has not got.
type lack struct {
	caps      []string // without CAP_
	seccomp   bool
	apparmor  bool
	procMasks bool
	sysRO     bool
	cgroupRO  bool
	userns    error // why no user namespace can be made
	machine   error // what no option of docker run would mend
}

// lacking finds out by trying rather than by reading names of profiles.
func lacking() lack {
	l := lack{
		procMasks: below("/proc"), sysRO: readOnly("/sys"), cgroupRO: cgroup.ReadOnly(),
		apparmor: confined(), userns: tryUserNS(),
	}
	facts := doctor.Cheap()
	for _, c := range []struct {
		name string
		bit  uint
	}{{"SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"NET_ADMIN", unix.CAP_NET_ADMIN}} {
		if facts.Capabilities&(1<<c.bit) == 0 {
			l.caps = append(l.caps, c.name)
		}
	}
	if len(l.caps) == 0 {
		// A system call with names that do not exist: ENOENT unless a filter is in the way.
		l.seccomp = errors.Is(unix.PivotRoot("/.berth-none", "/.berth-none"), unix.EPERM)
		l.machine = doctor.Preflight(facts)
	}
	return l
}

// forNested says why an engine in namespaces of its own is impossible; "" if it is not.
func (l lack) forNested() string {
	switch {
	case len(l.caps) > 0:
		return "it lacks CAP_" + strings.Join(l.caps, ", CAP_")
	case l.machine != nil:
		return l.machine.Error()
	case l.procMasks:
		return "parts of its /proc are hidden, so that no new one can be mounted in a user namespace"
	case l.sysRO:
		return "its /sys is read-only, so that no other can be mounted in a user namespace"
	case l.cgroupRO:
		return "its control groups are read-only"
	case l.userns != nil:
		return "it cannot make a user namespace: " + l.userns.Error()
	}
	return ""
}

// forHere lists the options of docker run that dockerd in the container's namespaces needs
// and that were not given.
func (l lack) forHere() []string {
	var out []string
	for _, c := range l.caps {
		out = append(out, "--cap-add "+c)
	}
	if l.seccomp || len(l.caps) > 0 && filtered() {
		out = append(out, "--security-opt seccomp=unconfined")
	}
	if l.procMasks {
		out = append(out, "--security-opt systempaths=unconfined")
	}
	if l.apparmor {
		out = append(out, "--security-opt apparmor=unconfined")
	}
	if l.cgroupRO {
		out = append(out, "--security-opt writable-cgroups=true --cgroupns private")
	}
	return out
}

// filtered reports whether a seccomp filter is at work (proc_pid_status(5), Seccomp).
func filtered() bool {
	b, err := os.ReadFile("/proc/self/status")
	return err == nil && bytes.Contains(b, []byte("\nSeccomp:\t2\n"))
}

// confined reports whether an AppArmor profile forbids mounts. The one that is tried changes
// nothing: [prepare] has done the same.
func confined() bool {
	if unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "") == nil {
		return false
	}
	b, err := os.ReadFile("/proc/self/attr/apparmor/current")
	if err != nil {
		if b, err = os.ReadFile("/proc/self/attr/current"); err != nil {
			return false
		}
	}
	return bytes.Contains(b, []byte("(enforce)"))
}

// below reports whether something is mounted below dir, which hides what is there.
func below(dir string) bool {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return true
	}
	for _, m := range mounts {
		if m.Mountpoint != dir && m.FSType != "binfmt_misc" {
			return true
		}
	}
	return false
}

func readOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) != nil || st.Flags&unix.ST_RDONLY != 0
}

// tryUserNS makes a user namespace, with the namespaces that an engine has in it.
func tryUserNS() error {
	cmd := exec.Command("/usr/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	return cmd.Run()
}
