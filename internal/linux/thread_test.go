package linux

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Root raises a limit of a process as it likes, but not within limits.
func TestWithinLimits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root goes beyond limits")
	}
	var was unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &was); err != nil {
		t.Fatal(err)
	}
	raise := func() error {
		more := was
		more.Max++
		return unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, &more, nil)
	}
	if err := WithinLimits(raise); err != unix.EPERM {
		t.Errorf("a limit was raised: %v", err)
	}
	if err := raise(); err == unix.EPERM {
		t.Skip("this root does not have CAP_SYS_RESOURCE")
	} else if err != nil {
		t.Error(err)
	}
	_ = unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, &was, nil)
}
