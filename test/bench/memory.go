package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// weight is the memory of an engine, in MiB.
type weight struct {
	private      float64 // pages of the engine alone (Private_Clean + Private_Dirty)
	proportional float64 // its share of all its pages (Pss)
	monitor      float64 // the monitor's private pages, not in the others
}

// weigh adds up every process of a session's engine (proc_pid_smaps(5)).
func (b *bench) weigh(ctx context.Context, s *session) (weight, error) {
	init, err := b.initOf(ctx, s.id)
	if err != nil {
		return weight{}, err
	}
	var w weight
	for _, pid := range family(init) {
		private, proportional, err := rollup(pid)
		if err != nil {
			return weight{}, err
		}
		w.private += private
		w.proportional += proportional
	}
	w.monitor, _, err = rollup(s.cmd.Process.Pid)
	return w, err
}

// family is a process and all its descendants.
func family(root int) []int {
	out := []int{root}
	for i := 0; i < len(out); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", out[i]))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					out = append(out, pid)
				}
			}
		}
	}
	return out
}

func rollup(pid int) (private, proportional float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Private_Clean:", "Private_Dirty:":
			private += kb / 1024
		case "Pss:":
			proportional += kb / 1024
		}
	}
	return private, proportional, nil
}
