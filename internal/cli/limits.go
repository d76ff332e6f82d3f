package cli

import (
	"fmt"
	"math"
	"strconv"

	"github.com/docker/go-units"

	"github.com/berth-dev/berth/internal/engine"
)

func (f *engineFlags) parseLimits(spec *engine.Spec) (err error) {
	if spec.Limits.Memory, err = parseMemory(f.memory); err != nil {
		return fmt.Errorf("--memory %s: %w", f.memory, err)
	}
	if spec.Limits.CPUs, err = parseCPUs(f.cpus); err != nil {
		return fmt.Errorf("--cpus %s: %w", f.cpus, err)
	}
	spec.Limits.PIDs = f.pids
	if spec.Limits.Disk, err = parseMemory(f.disk); err != nil {
		return fmt.Errorf("--disk %s: %w", f.disk, err)
	}
	return nil
}

// parseMemory understands what docker run --memory does; empty is no limit.
func parseMemory(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("not a size; give a number with b, k, m or g, such as 512m")
	case n == 0:
		return 0, fmt.Errorf("nothing can run in that; leave it out for no limit")
	}
	return n, nil
}

// parseCPUs understands what docker run --cpus does; empty is no limit.
func parseCPUs(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		return 0, fmt.Errorf("not a number of processors; give one such as 1.5")
	case n == 0:
		return 0, fmt.Errorf("nothing can run on that; leave it out for no limit")
	}
	return n, nil
}
