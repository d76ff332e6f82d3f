package dind

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/berth-dev/berth/test/leak"
)

// scope is everything on the machine but the hosts' own data.
var scope = leak.Scope{All: true, Files: []string{"/run/berth", "/tmp/dind"}, Skip: []string{"/run/berth/engines"}}

func TestRemovalAtAnyMomentLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		leak.Guard(t, scope)
		for i := range 12 {
			name := fmt.Sprintf("moment%d", i)
			h.must(t, "run", "-d", "--privileged", "--name", name, imageName)
			time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
			h.must(t, "rm", "-f", "-v", name)
		}
	})
}

func TestFiftyCyclesLeaveNoVolume(t *testing.T) {
	h := current(t)
	h.must(t, "run", "--rm", imageName, "true") // Docker makes its containers' cgroup with the first
	leak.Guard(t, scope)
	var wg sync.WaitGroup
	for lane := range 2 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("cycle%d-%d", lane, i)
				if r := h.try(t, "run", "-d", "--rm", "--privileged", "--name", name, imageName); r.code != 0 {
					t.Error(r)
					continue
				}
				if r := h.try(t, "exec", name, "berth", "_health"); r.code != 0 {
					t.Errorf("%s: %s", name, r)
				}
				h.try(t, "stop", name)
			}
		})
	}
	wg.Wait()
}
