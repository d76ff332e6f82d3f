package cgroup

import (
	"maps"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// One kill is announced several times, before it and after, and counts once.
func TestCountKills(t *testing.T) {
	const announce, wait = -1, -2
	for name, test := range map[string]struct {
		steps []int // announce, wait until it is quiet, or the number of kills there were
		want  int
	}{
		"announced once":                   {[]int{announce, 1, wait}, 1},
		"announced again and again":        {[]int{announce, announce, 1, announce, announce, announce, wait}, 1},
		"killed before it could be seen":   {[]int{1, announce, announce, wait}, 1},
		"two lacks":                        {[]int{announce, announce, 1, announce, wait, announce, 2, announce, wait}, 2},
		"two kills in one":                 {[]int{announce, 1, announce, 2, announce, wait}, 2},
		"the last is seen when it is over": {[]int{announce, 3, wait}, 3},
		"a kernel that does not count":     {[]int{announce, announce, announce, wait, announce, wait}, 2},
		"the limit of a container":         {[]int{5, wait, announce, 6, wait}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				announced, counted, kills := make(chan struct{}), 0, map[string]uint64{}
				go countKills(announced, func() map[string]uint64 { return maps.Clone(kills) }, func() { counted++ })
				for _, step := range test.steps {
					switch step {
					case announce:
						announced <- struct{}{}
					case wait:
						time.Sleep(2 * settle)
					default:
						kills["group"] = uint64(step)
					}
					synctest.Wait()
				}
				close(announced)
				synctest.Wait()
				if counted != test.want {
					t.Errorf("counted %d, want %d", counted, test.want)
				}
			})
		})
	}
}

func TestOOMKills(t *testing.T) {
	root := fake(t, map[string]string{
		"memory.oom_control":          "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"docker/a/memory.oom_control": "oom_kill_disable 1\nunder_oom 1\noom_kill 3",
		"old/memory.oom_control":      "oom_kill_disable 0\nunder_oom 0\n",
	})
	before := oomKills(root)
	if want := map[string]uint64{root: 2, filepath.Join(root, "docker/a"): 3}; !maps.Equal(before, want) {
		t.Errorf("got %v, want %v", before, want)
	}
	// Of groups that are gone nothing is known, and new ones count in full.
	if n := growth(before, map[string]uint64{root: 3, "new": 2}); n != 3 {
		t.Errorf("grown by %d, want 3", n)
	}
	if n := len(oomKills(filepath.Join(root, "none"))); n != 0 {
		t.Errorf("%d of a group that is gone", n)
	}
}
