package cli

import (
	"fmt"
	"math"
	"strconv"

	"github.com/docker/go-units"

	"github.com/berth-dev/berth/internal/engine"
)

// What is too little for dockerd and one container to work in.
const (
	minMemory = 64 * units.MiB
	minCPUs   = 0.01 // the kernel's shortest quota: 1 ms of each 100 ms
	minPIDs   = 64
)

func (f *engineFlags) parseLimits(spec *engine.Spec) (err error) {
	if spec.Limits.Memory, err = parseMemory(f.memory); err != nil {
		return fmt.Errorf("--memory %s: %w", f.memory, err)
	}
	if spec.Limits.CPUs, err = parseCPUs(f.cpus); err != nil {
		return fmt.Errorf("--cpus %s: %w", f.cpus, err)
	}
	if f.pids != 0 && f.pids < minPIDs {
		return fmt.Errorf("--pids %d: dockerd alone has some 40 threads; give at least %d, or leave it out for no limit", f.pids, minPIDs)
	}
	spec.Limits.PIDs = f.pids
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
	case n < minMemory:
		return 0, fmt.Errorf("dockerd itself needs about %s; give at least that, or leave it out for no limit", units.BytesSize(minMemory))
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
	case n < minCPUs:
		return 0, fmt.Errorf("give at least %g processors, or leave it out for no limit", minCPUs)
	case n > 1<<16:
		return 0, fmt.Errorf("no machine has that many processors; give fewer, or leave it out for no limit")
	}
	return n, nil
}
