package integration

import (
	"fmt"
	"testing"
)

// Eight engines at once: each starts, works and goes. More than once, because
// what they share is fought over while they come and go.
func TestEightAtOnce(t *testing.T) {
	guard(t)
	for range 3 {
		eight(t)
	}
}

func eight(t *testing.T) {
	t.Helper()
	type answer struct {
		out []byte
		err error
	}
	answers := make(chan answer)
	for i := range 8 {
		cmd := command(t, nil, "run", "--name", fmt.Sprintf("many%d", i), "--", "sh", "-ec",
			fmt.Sprintf("docker load -q -i %s >/dev/null; docker run --rm %s", imageTar, imageName))
		go func() {
			out, err := cmd.CombinedOutput()
			answers <- answer{out, err}
		}()
	}
	for range 8 {
		if a := <-answers; a.err != nil || string(a.out) != "hello from five layers\n" {
			t.Errorf("%v: %s", a.err, a.out)
		}
	}
}
