package engine

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// EnvFault names a step and what is to happen after it, as STEP:ACTION, so that tests can
// see a crash at every moment: "stop" freezes the process (SIGSTOP), "kill" ends it, "fail"
// makes the step fail. Undo steps are named undo-STEP. It is read by the monitor alone,
// which is root's.
const EnvFault = "BERTH_FAULT"

type fault struct{ step, action string }

func faultFromEnv() fault {
	step, action, _ := strings.Cut(os.Getenv(EnvFault), ":")
	return fault{step, action}
}

func (f fault) after(step string) error {
	if f.step == "" || f.step != step {
		return nil
	}
	switch f.action {
	case "stop":
		return unix.Kill(unix.Getpid(), unix.SIGSTOP)
	case "kill":
		return unix.Kill(unix.Getpid(), unix.SIGKILL)
	}
	return fmt.Errorf("step %s failed because %s asks for it", step, EnvFault)
}
