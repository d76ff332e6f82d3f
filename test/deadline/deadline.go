// Package deadline lengthens the deadlines of tests on machines that are known to be slow,
// such as one whose processors are emulated. It lengthens nothing by itself: who starts
// the tests says by how much.
package deadline

import (
	"os"
	"strconv"
	"time"
)

// EnvScale is a whole number, 1 or more, by which deadlines are multiplied.
const EnvScale = "BERTH_TEST_SCALE"

// Scaled returns d, as long as it is meant for an ordinary machine, for this one. It is
// for deadlines only: a figure that the product promises is not scaled.
func Scaled(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv(EnvScale)); err == nil && n > 1 {
		return d * time.Duration(n)
	}
	return d
}
