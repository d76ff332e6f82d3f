package cgroup

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settle is how long after its last announcement a lack of memory is over. The kernel announces
// one before it kills, and again whenever somebody still finds no memory, until what it killed is
// gone. Nothing announces the kill itself.
const settle = time.Second

// countKills calls f for each kill, at once for the first one of a lack of memory. kills tells how
// many there were in each group; where that is not known, f is called once for each lack. It
// returns when announced is closed.
func countKills(announced <-chan struct{}, kills func() map[string]uint64, f func()) {
	for range announced {
		seen := kills()
		f()
		ahead := true // of what kills tells
		quiet := time.NewTimer(settle)
		for lacking := true; lacking; {
			select {
			case _, ok := <-announced:
				if !ok {
					quiet.Stop()
					return
				}
				quiet.Reset(settle)
			case <-quiet.C:
				lacking = false
			}
			now := kills()
			for range growth(seen, now) {
				if !ahead {
					f()
				}
				ahead = false
			}
			seen = now
		}
	}
}

func growth(before, after map[string]uint64) (n uint64) {
	for group, kills := range after {
		n += kills - min(kills, before[group])
	}
	return n
}

// oomKills reads how many processes the kernel has killed in a group and in each one below, by
// their directories: it counts a kill where the process was, whosever limit it was for
// (memory.oom_control, Linux 4.13). Groups may come and go meanwhile.
func oomKills(dir string) map[string]uint64 {
	kills := map[string]uint64{}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(path, "memory.oom_control"))
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				kills[path], _ = strconv.ParseUint(n, 10, 64)
			}
		}
		return nil
	})
	return kills
}
