package main

import "strings"

// A topic is a set of tests, each by the beginning of its name, that finds what one kind of
// difference between machines may break.
type topic []string

var (
	// inPackages take no time.
	inPackages = topic{
		"TestMissingControllers", "TestSwapLimit", "TestPrepare", "TestOwnGroup", "TestOOMCount", "TestChown", "TestKillGroup", "TestCheckParent", "TestParentMust", "TestDelegated",
		"TestNothingToDoOnV1", "TestControllersAre", "TestProcessesAre", "TestProcessesOfOther", "TestTraffic", "TestForwarding", "TestDockerUser",
	}
	// groups are about control groups: where everything is, limits, figures.
	groups = topic{
		"TestLimitsOf", "TestRunReportsOOM", "TestEverythingStays", "TestEnginesCgroup", "TestCgroupNamespaces", "TestDockerStats", "TestBerthStats", "TestLimitsCannotBeRaised",
		"TestCgroupParent", "TestAnEngineInAnEngine", "TestAnotherRuntime", "TestControlGroupsUnderRuncAlone",
	}
	// life is an engine's, from its start to its end, however that comes about.
	life = topic{"TestExitStatus", "TestMonitorKilledAtEveryStep", "TestLifeOfAnEngine"}
	// ways are the network's.
	ways = topic{"TestWayOut", "TestLoopbackResolver", "TestTwoEnginesOnOnePort", "TestBesideADockerHost"}
	// data is what file systems make a difference to.
	data = topic{"TestOwnersInTheWorkspace", "TestFileSystems", "TestQuota", "TestNoQuota"}
	// forks are of snapshots: by reflink, link or copy, as the file system of /var has it.
	forks = topic{"TestFork$", "TestVersionsAndRemoval", "TestDiskReport"}
	// many is what a machine with little memory has to bear.
	many = topic{"TestEightAtOnce", "TestManyForks"}
	// units are those of systemd, and what else a host has that systemd runs.
	units = topic{
		"TestUnitStarts", "TestRestartKeeps", "TestStopLeaves", "TestSystemdRestarts", "TestLimitsSurvive", "TestEngineIsInItsUnit", "TestOwnGroupHas", "TestMirrorIs",
		"TestBesideNetworkd", "TestBesideNftables", "TestBesideFirewalld",
	}
)

// core are the tests that differ most from one machine to another: what the cgroup version,
// the kernel or the init may break. They are what runs when RUN says nothing, in half the
// time that a change's tests may take under TCG. RUN=. runs all.
var core = pattern(inPackages, groups, life, ways, data, units)

func pattern(of ...topic) string {
	var all topic
	for _, t := range of {
		all = append(all, t...)
	}
	return "^(" + strings.Join(all, "|") + ")"
}

// combination is a kind of machine and what is worth a run there.
type combination struct {
	settings string
	topics   []topic // nil for the core tests
}

// combinations are those that find different things; the first is what every change has to pass.
var combinations = []combination{
	{"CGROUP=v2 INIT=busybox FS=ext4", nil},
	{"CGROUP=v2 INIT=systemd FS=xfs", []topic{inPackages, units, forks, {"TestDiskQuota"}}},
	{"CGROUP=v2 INIT=systemd FS=btrfs IPV6=0", []topic{ways, forks, {"TestUnitStarts", "TestBesideNetworkd"}}},
	{"CGROUP=hybrid INIT=systemd FS=ext4", []topic{inPackages, units, {"TestEnginesCgroup", "TestLimitsOf"}}},
	{"CGROUP=hybrid INIT=busybox FS=ext4 KERNEL=linux-image-amd64", []topic{inPackages, groups}},
	{"CGROUP=v1 INIT=busybox FS=xfs", []topic{inPackages, groups, {"TestLifeOfAnEngine"}}},
	{"CGROUP=v2 INIT=busybox FS=ext4 KERNEL=linux-image-cloud-amd64/backports", []topic{inPackages, groups, ways}},
	{"CGROUP=v2 INIT=busybox FS=ext4 MEM=1536", []topic{many, {"TestRunReportsOOM", "TestLimitsOf"}}},
}
