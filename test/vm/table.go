package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// record keeps the `go test -json` of an environment outside a machine (ENVIRONMENT,
// "host" unless set) and prints it as `go test` would.
func record(s settings, from io.Reader, to io.Writer) error {
	if s.Name == "" {
		s.Name = "host"
	}
	path := s.resultsFile(s.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	t := newTally()
	out := json.NewEncoder(file)
	err = decode(from, func(e event) error {
		t.add(e)
		if e.Action == "output" && e.Test == "" || e.Action == "build-output" {
			io.WriteString(to, e.Output)
		}
		return out.Encode(e)
	})
	if err != nil {
		return err
	}
	failures := t.failures()
	for _, name := range failures {
		fmt.Fprintf(to, "\n--- %s\n%s", name, t.output[name])
	}
	if len(failures) > 0 {
		return errTests
	}
	return nil
}

// environment is a column of the table.
type environment struct {
	name string
	last time.Time // when its last test ended
	tally
}

// printTable prints how each test ended in each environment of which results are kept.
func printTable(s settings, to io.Writer) error {
	files, err := filepath.Glob(s.resultsFile("*"))
	if err != nil {
		return err
	}
	var all []environment
	for _, file := range files {
		e, err := load(file)
		if err != nil {
			say("left out: %v", err)
			continue
		}
		all = append(all, e)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	header := []string{"test"}
	for i, e := range all {
		header = append(header, strconv.Itoa(i+1))
		fmt.Fprintf(w, "%d\t%s\t%d ok\t%d FAIL\t%d skipped\t%s\n", i+1, e.name, e.count["pass"], e.count["fail"], e.count["skip"], e.last.UTC().Format("2006-01-02 15:04 MST"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", strings.Join(header, "\t"))
	for _, row := range rows(all) {
		cells := []string{row}
		for _, e := range all {
			cells = append(cells, mark(e.result[row]))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printReasons(to, all)
}

// rows are the tests of all environments, without subtests, and packages that failed without
// a test's doing so.
func rows(all []environment) []string {
	found := map[string]bool{}
	for _, e := range all {
		for name := range e.result {
			if _, test, ok := strings.Cut(name, " "); ok && !strings.Contains(test, "/") {
				found[name] = true
			}
		}
		for _, name := range e.failures() {
			if !strings.Contains(name, " ") {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// mark is how a test ended; - where it was not run.
func mark(result string) string {
	if m := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "skip"}[result]; m != "" {
		return m
	}
	return "-"
}

// printReasons says for each skipped test what its environments, by their numbers, lack.
func printReasons(to io.Writer, all []environment) error {
	seen := map[string][]string{}
	for i, e := range all {
		for name, result := range e.result {
			if result == "skip" && strings.Contains(name, " ") {
				line := name + ": " + e.reason(name)
				seen[line] = append(seen[line], strconv.Itoa(i+1))
			}
		}
	}
	if len(seen) > 0 {
		fmt.Fprintln(to, "\nskipped:")
	}
	for _, line := range slices.Sorted(maps.Keys(seen)) {
		if _, err := fmt.Fprintf(to, "  %s (%s)\n", line, strings.Join(seen[line], ", ")); err != nil {
			return err
		}
	}
	return nil
}

// load reads what is kept of an environment.
func load(path string) (environment, error) {
	e := environment{name: strings.TrimSuffix(filepath.Base(path), ".json"), tally: newTally()}
	file, err := os.Open(path)
	if err != nil {
		return e, err
	}
	defer file.Close()
	err = decode(file, func(of event) error {
		if e.add(of) && of.Time.After(e.last) {
			e.last = of.Time
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}
