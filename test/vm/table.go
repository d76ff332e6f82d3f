package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
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

// printTable prints how each test ended in each environment of which results are kept.
func printTable(s settings, to io.Writer) error {
	files, err := filepath.Glob(s.resultsFile("*"))
	if err != nil {
		return err
	}
	columns := map[string]*tally{}
	rows := map[string]bool{}
	for _, file := range files {
		t, err := load(file)
		if err != nil {
			return err
		}
		columns[strings.TrimSuffix(filepath.Base(file), ".json")] = t
		for name := range t.result {
			if _, test, ok := strings.Cut(name, " "); ok && !strings.Contains(test, "/") {
				rows[name] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(columns))
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "test\t"+strings.Join(names, "\t"))
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		cells := []string{row}
		for _, name := range names {
			cells = append(cells, mark(columns[name].result[row]))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printReasons(to, names, columns)
}

func mark(result string) string {
	return map[string]string{"pass": "ok", "fail": "FAIL", "skip": "skipped"}[result]
}

// printReasons says for each skipped test what its environment lacks.
func printReasons(to io.Writer, names []string, columns map[string]*tally) error {
	seen := map[string][]string{}
	for _, name := range names {
		t := columns[name]
		for _, test := range t.order {
			if t.result[test] == "skip" {
				line := test + ": " + t.reason(test)
				seen[line] = append(seen[line], name)
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

func load(path string) (*tally, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	t := newTally()
	err = decode(file, func(e event) error { t.add(e); return nil })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &t, nil
}
