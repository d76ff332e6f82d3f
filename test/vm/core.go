package main

import "strings"

// core are the tests that differ most from one machine to another: what the cgroup
// version, the kernel or the init may break. They are what runs when RUN says nothing, in
// half the time that a change's tests may take under TCG. RUN=. runs all.
var core = []string{
	// Packages whose tests take no time.
	"TestMissingControllers", "TestSwapLimit", "TestPrepare", "TestOOMCount", "TestChown", "TestParent", "TestDelegated", "TestKillGroup", "TestNothingToDoOnV1", "TestControllersAre", "TestProcessesAre", "TestProcessesOfOther",
	"TestTraffic", "TestForwarding", "TestDockerUser",
	// Control groups.
	"TestLimitsOf", "TestRunReportsOOM", "TestEverythingStays", "TestEnginesCgroup", "TestCgroupNamespaces", "TestDockerStats", "TestBerthStats", "TestLimitsCannotBeRaised",
	"TestCgroupParent", "TestAnEngineInAnEngine", "TestAnotherRuntime",
	// An engine's life, network, data and end.
	"TestExitStatus", "TestMonitorKilledAtEveryStep", "TestLifeOfAnEngine", "TestWayOut", "TestLoopbackResolver", "TestTwoEnginesOnOnePort",
	"TestOwnersInTheWorkspace", "TestFileSystems", "TestBesideADockerHost",
	// Under systemd alone.
	"TestUnitStarts", "TestRestartKeeps", "TestStopLeaves", "TestSystemdRestarts", "TestLimitsSurvive", "TestEngineIsInItsUnit", "TestOwnGroup", "TestBesideNetworkd", "TestBesideNftables", "TestBesideFirewalld",
}

func corePattern() string { return "^(" + strings.Join(core, "|") + ")" }
