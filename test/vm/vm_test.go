package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-dev/berth/test/vm/job"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if v, ok := strings.CutPrefix(p, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

func TestSettings(t *testing.T) {
	s, err := settingsFrom(env())
	if err != nil || s.name() != "vm-v2-busybox-ext4" || !s.IPv6 || s.MiB != 4096 {
		t.Errorf("defaults: %+v %v", s, err)
	}
	s, err = settingsFrom(env("CGROUP=hybrid", "INIT=systemd", "FS=xfs", "IPV6=0", "KERNEL=linux-image-amd64"))
	if err != nil || s.name() != "vm-hybrid-systemd-xfs-ipv4-amd64" {
		t.Errorf("%s %v", s.name(), err)
	}
	for _, bad := range []string{"CGROUP=v3", "INIT=upstart", "FS=ntfs", "MEM=lots", "MEM=12", "MEM=99999999", "IPV6=yes", "LIMIT=soon", "LIMIT=-1m", "KERNEL=/", "KERNEL=-o x", "RUN=(", "SKIP=["} {
		name, _, _ := strings.Cut(bad, "=")
		if _, err := settingsFrom(env(bad)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A run of nothing would pass.
func TestSelection(t *testing.T) {
	for run, want := range map[string]int{"TestNoSuchThing": 0, "TestPrepare": 1, "TestFileSystems/xfs": 2, "": 4} {
		s, err := settingsFrom(env("RUN=" + run))
		if err != nil {
			t.Fatal(err)
		}
		s.Repo = "../.."
		found, err := s.selected()
		if len(found) < want || (err == nil) == (want == 0) {
			t.Errorf("RUN=%s: %d packages, %v", run, len(found), err)
		}
	}
}

// Every combination is another machine, selects something of each of its topics, and together
// they have every value that a setting may have.
func TestCombinations(t *testing.T) {
	given, err := settingsFrom(env())
	if err != nil {
		t.Fatal(err)
	}
	all, err := matrix(given)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	values := map[string]bool{}
	for i, s := range all {
		if seen[s.name()] {
			t.Errorf("%s is there twice", s.name())
		}
		seen[s.name()] = true
		for _, v := range []any{s.Cgroup, s.FS, s.Init, s.IPv6} {
			values[fmt.Sprint(v)] = true
		}
		s.Repo = "../.."
		if _, err := s.selected(); err != nil {
			t.Error(err)
		}
		if i > 0 && s.Run == core {
			t.Errorf("%s runs all core tests", s.name())
		}
	}
	for _, v := range []string{"v1", "v2", "hybrid", "ext4", "xfs", "btrfs", "busybox", "systemd", "true", "false"} {
		if !values[v] {
			t.Errorf("no combination has %s", v)
		}
	}
	given.Run = "TestOne"
	if all, err = matrix(given); err != nil || all[len(all)-1].Run != "TestOne" {
		t.Errorf("RUN is not heeded: %v", err)
	}
}

// Each name of a topic is the beginning of some test's.
func TestTopicsNameTests(t *testing.T) {
	var names []string
	for _, u := range suites {
		files, _ := filepath.Glob(filepath.Join("../..", u.path(), "*_test.go"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				names = append(names, string(m[1]))
			}
		}
	}
	all := slices.Concat(inPackages, groups, life, ways, data, forks, many, units)
	for _, c := range combinations {
		all = slices.Concat(append([]topic{all}, c.topics...)...)
	}
	for _, prefix := range all {
		prefix = strings.TrimSuffix(prefix, "$")
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("no test's name begins with %s", prefix)
		}
	}
}

const report = `
` + job.Mark + `{"boot":{"kernel":"6.1.0","cgroup":"cgroup2:","data":"ext4","uptime":3}}
` + job.Mark + `{"package":"` + module + `/test/one"}
=== RUN   TestGood
--- PASS: TestGood (0.10s)
=== RUN   TestBad
    one_test.go:3: wrong
--- FAIL: TestBad (0.20s)
=== RUN   TestElsewhere
    one_test.go:9: no such device here
--- SKIP: TestElsewhere (0.00s)
FAIL
` + job.Mark + `{"ended":{"package":"` + module + `/test/one","status":1}}
` + job.Mark + `{"package":"` + module + `/test/crashed"}
` + job.Mark + `{"ended":{"package":"` + module + `/test/crashed","status":137}}
` + job.Mark + `{"package":"` + module + `/test/hung"}
=== RUN   TestHangs
    hung_test.go:4: before it hung
`

// A report is taken apart; one that breaks off is not taken for a good one.
func TestResultsAndTable(t *testing.T) {
	s, err := settingsFrom(env("ENVIRONMENT=fake"))
	if err != nil {
		t.Fatal(err)
	}
	s.Cache = t.TempDir()
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := newResults(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.read(strings.NewReader(report)); err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r.summary(&out)
	for _, want := range []string{"--- test/one TestBad", "one_test.go:3: wrong", "crashed", "test/hung TestHangs: was running at the end", "before it hung", "1 passed", "1 skipped"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, out.String())
		}
	}
	if r.done || !r.failed() {
		t.Errorf("done %v, failed %v", r.done, r.failed())
	}
	out.Reset()
	if err := printTable(s, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1  fake  1 ok  1 FAIL  1 skipped", "test/one TestGood       ok", "test/one TestBad        FAIL", "test/crashed            FAIL", "test/one TestElsewhere  skip", "TestElsewhere: no such device here (1)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

// A run of some tests replaces what is known of those, and keeps the rest.
func TestResultsOfSomeTests(t *testing.T) {
	given := env("ENVIRONMENT=fake", "RUN=TestBad")
	s, err := settingsFrom(given)
	if err != nil {
		t.Fatal(err)
	}
	s.Cache = t.TempDir()
	if err := os.MkdirAll(s.logs(), 0o755); err != nil {
		t.Fatal(err)
	}
	const begin = job.Mark + `{"package":"` + module + `/test/one"}` + "\n"
	const end = job.Mark + `{"ended":{"package":"` + module + `/test/one","status":0}}` + "\n"
	for _, text := range []string{
		"=== RUN   TestGood\n--- PASS: TestGood (0.10s)\n=== RUN   TestBad\n--- FAIL: TestBad (0.20s)\nFAIL\n",
		"=== RUN   TestBad\n--- PASS: TestBad (0.20s)\nPASS\n",
	} {
		r, err := newResults(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.read(strings.NewReader(begin+text+end)), r.close()); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := printTable(s, &out); err != nil || !strings.Contains(out.String(), "2 ok  0 FAIL") || strings.Count(out.String(), "  ok\n") != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
}
