// Package doctor says whether this machine can run engines, and how to mend what is missing.
//
// It looks first ([Cheap], [Gather]) and judges afterwards ([Examine], [Preflight]), so
// that every judgement is a pure function of [Facts] and can be tested for machines that
// nobody has at hand. Sizes are bytes. It must not know how an engine is made, and changes
// nothing on the machine.
package doctor

import (
	"fmt"
)

// Status is the outcome of one check.
type Status string

const (
	OK   Status = "ok"
	Warn Status = "warn" // engines run, something will not work
	Fail Status = "fail" // no engine can run
)

// Result is what one check found. Remedy is empty when there is nothing to mend.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// check judges one thing.
type check struct {
	name  string
	judge func(Facts) (status Status, detail, remedy string)
}

// fatal are the checks that are cheap and without which no engine can run.
var fatal = []check{
	{"root", checkRoot},
	{"kernel", checkKernel},
	{"user namespaces", checkUserNamespaces},
	{"overlayfs", checkOverlay},
	{"cgroups", checkCgroups},
}

// others take longer, or an engine can do without.
var others = []check{
	{"idmapped mounts", checkIDMap},
	{"payload", checkPayload},
	{"disk", checkDisk},
	{"subordinate ids", checkSubIDs},
	{"open files", checkOpenFiles},
	{"CAP_SYS_RESOURCE", checkSysResource},
	{"/dev/fuse", checkFuse},
	{"/dev/net/tun", checkTun},
	{"dns", checkDNS},
}

// Examine judges all facts of a machine, the gravest matters first.
func Examine(f Facts) []Result {
	var out []Result
	for _, c := range fatal {
		out = append(out, c.run(f))
	}
	for _, c := range others {
		out = append(out, c.run(f))
	}
	return append(out, f.Network...)
}

// Preflight returns the first reason why no engine can start on a machine, or nil. Only
// what [Cheap] gathers is judged.
func Preflight(f Facts) error {
	for _, c := range fatal {
		if r := c.run(f); r.Status == Fail {
			return fmt.Errorf("%s: %s; %s", r.Name, r.Detail, r.Remedy)
		}
	}
	return nil
}

// Usable tells whether an engine can run: no check failed.
func Usable(results []Result) bool {
	for _, r := range results {
		if r.Status == Fail {
			return false
		}
	}
	return true
}

func (c check) run(f Facts) Result {
	status, detail, remedy := c.judge(f)
	return Result{Name: c.name, Status: status, Detail: detail, Remedy: remedy}
}
