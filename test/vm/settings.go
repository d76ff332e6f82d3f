package main

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settings are what the environment says; the zero value of a field is its default.
type settings struct {
	Kernel string // KERNEL: a Debian package that is, or depends on, a kernel image; NAME/RELEASE of another release
	Cgroup string // CGROUP: v2, hybrid, v1
	FS     string // FS: ext4, xfs, btrfs; of /var, where data roots are
	Init   string // INIT: busybox, systemd
	MiB    int    // MEM: the machine's memory
	IPv6   bool   // IPV6: 0 or 1
	Run    string // RUN: regular expression of tests, as for go test; empty: see core
	Skip   string // SKIP: the same of tests to leave out
	Shell  string // COMMAND: a shell command to run instead of the tests, to look into things
	Accel  string // ACCEL: kvm or tcg; empty: what works
	Name   string // ENVIRONMENT: what the table calls the environment

	Limit time.Duration // LIMIT: how long a machine may run
	Repo  string        // the repository
	Cache string        // its .cache/vm
}

const defaultMiB = 4096

func settingsFrom(env func(string) string) (settings, error) {
	var problems []string
	choice := func(name, fallback string, of ...string) string {
		v := env(name)
		if v == "" {
			return fallback
		}
		if len(of) > 0 && !slices.Contains(of, v) {
			problems = append(problems, fmt.Sprintf("%s=%s: want one of %s", name, v, strings.Join(of, ", ")))
		}
		return v
	}
	s := settings{
		Kernel: choice("KERNEL", "linux-image-cloud-amd64"),
		Cgroup: choice("CGROUP", "v2", "v2", "hybrid", "v1"),
		FS:     choice("FS", "ext4", "ext4", "xfs", "btrfs"),
		Init:   choice("INIT", "busybox", "busybox", "systemd"),
		IPv6:   choice("IPV6", "1", "0", "1") == "1",
		Run:    choice("RUN", core), Skip: env("SKIP"), Shell: env("COMMAND"),
		Accel: choice("ACCEL", "", "kvm", "tcg"),
		Name:  env("ENVIRONMENT"),
	}
	refuse := func(name, value, want string) {
		problems = append(problems, fmt.Sprintf("%s=%s: want %s", name, value, want))
	}
	var err error
	mem, limit, most := choice("MEM", strconv.Itoa(defaultMiB)), choice("LIMIT", "25m"), memory()
	if s.MiB, err = strconv.Atoi(mem); err != nil || s.MiB < 512 || s.MiB > most {
		refuse("MEM", mem, fmt.Sprintf("MiB, 512 or more, and no more than the %d that this machine has", most))
	}
	if s.Limit, err = time.ParseDuration(limit); err != nil || s.Limit <= 0 {
		refuse("LIMIT", limit, "a duration such as 25m")
	}
	if name, _, _ := strings.Cut(s.Kernel, "/"); !packageName.MatchString(name) {
		refuse("KERNEL", s.Kernel, "a Debian package, with /RELEASE if it is another release's")
	}
	for name, pattern := range map[string]string{"RUN": s.Run, "SKIP": s.Skip} {
		if _, err := regexp.Compile(pattern); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(problems) > 0 {
		return s, fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	if s.Repo, err = filepath.Abs(".."); err != nil { // go run starts in the module's directory
		return s, err
	}
	s.Cache = filepath.Join(s.Repo, ".cache/vm")
	return s, nil
}

// packageName is what Debian Policy 5.6.1 has names made of.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// memory is this machine's, in MiB.
func memory() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt
	}
	return int(info.Totalram * uint64(info.Unit) >> 20)
}

// name is what the table calls the environment.
func (s settings) name() string {
	if s.Name != "" {
		return s.Name
	}
	parts := []string{"vm", s.Cgroup, s.Init, s.FS}
	if !s.IPv6 {
		parts = append(parts, "ipv4")
	}
	if s.MiB != defaultMiB {
		parts = append(parts, fmt.Sprintf("%dm", s.MiB))
	}
	if kind := strings.TrimPrefix(s.Kernel, "linux-image-"); kind != "cloud-amd64" {
		parts = append(parts, strings.ReplaceAll(kind, "/", "-"))
	}
	return strings.Join(parts, "-")
}
