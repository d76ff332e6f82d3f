package main

import (
	"maps"
	"slices"
	"strings"
)

// tally keeps how tests ended and what failed ones said.
type tally struct {
	result map[string]string // of a test, or of a package: pass, fail, skip
	output map[string]string
	order  []string
	count  map[string]int // of tests without subtests

	running map[string]bool // tests that have begun and not ended
}

func newTally() tally {
	return tally{result: map[string]string{}, output: map[string]string{}, count: map[string]int{}, running: map[string]bool{}}
}

func (e event) name() string {
	return strings.TrimSuffix(strings.TrimPrefix(e.Package, module+"/")+" "+e.Test, " ")
}

// add notes an event and tells whether it is the end of a test.
func (t *tally) add(e event) (ended bool) {
	name := e.name()
	switch e.Action {
	case "run":
		t.running[name] = true
	case "output":
		t.output[name] += e.Output
	case "pass", "fail", "skip":
		delete(t.running, name)
		t.result[name] = e.Action
		t.order = append(t.order, name)
		if e.Action == "pass" {
			delete(t.output, name)
		}
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			t.count[e.Action]++
		}
		return e.Test != ""
	}
	return false
}

// failures are the tests that failed, and the packages that failed without any of theirs.
func (t *tally) failures() (out []string) {
	for _, name := range t.order {
		if t.result[name] == "fail" && (strings.Contains(name, " ") || !t.anyFailedIn(name)) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (t *tally) anyFailedIn(pkg string) bool {
	for name := range maps.Keys(t.result) {
		if strings.HasPrefix(name, pkg+" ") && t.result[name] == "fail" {
			return true
		}
	}
	return false
}

func (t *tally) packageFailed(pkg string) bool {
	name := strings.TrimPrefix(pkg, module+"/")
	return t.result[name] == "fail" || t.anyFailedIn(name)
}

// reason is the last thing that a skipped test said.
func (t *tally) reason(name string) string {
	last := ""
	for line := range strings.Lines(t.output[name]) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
	}
	if _, text, ok := strings.Cut(last, ": "); ok && strings.Contains(last, "_test.go:") {
		return text
	}
	return last
}
