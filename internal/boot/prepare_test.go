package boot

import (
	"errors"
	"testing"
)

func TestOnMachine(t *testing.T) {
	const host, other = "mnt:[1]", "mnt:[2]"
	for name, test := range map[string]struct {
		pids, own, first string
		want             bool
	}{
		"the machine":           {firstPIDs, host, host, true},
		"its PIDs alone":        {firstPIDs, other, host, false}, // docker run --pid host
		"a container's init":    {"pid:[7]", other, other, false},
		"what cannot be read":   {firstPIDs, host, "", false},
		"no namespaces at all":  {"", "", "", false},
		"a container in there ": {"pid:[7]", other, "mnt:[3]", false},
	} {
		readlink := func(path string) (string, error) {
			got := map[string]string{"/proc/self/ns/pid": test.pids, "/proc/self/ns/mnt": test.own, "/proc/1/ns/mnt": test.first}[path]
			if got == "" {
				return "", errors.New(path)
			}
			return got, nil
		}
		if got := onMachine(readlink); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
