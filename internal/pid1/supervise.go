package pid1

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// supervise reaps every orphan and forwards signals to dockerd until dockerd ends, whose
// exit status it returns (128 + n for signal n).
func supervise(daemon int, signals <-chan os.Signal) int {
	for {
		if code, ended := reap(daemon); ended {
			return code
		}
		s := <-signals
		if sig, ok := s.(unix.Signal); ok && sig != unix.SIGCHLD {
			_ = unix.Kill(daemon, sig)
		}
	}
}

// reap collects all children that have ended (wait4(2)) and says whether daemon is among them.
func reap(daemon int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return code, ended
		}
		if pid == daemon {
			code, ended = exitCode(status), true
		}
	}
}

func exitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// isReady finds READY=1 in a notification: assignments, one a line (sd_notify(3)).
func isReady(datagram []byte) bool {
	for line := range bytes.Lines(datagram) {
		if bytes.Equal(bytes.TrimSuffix(line, []byte("\n")), []byte("READY=1")) {
			return true
		}
	}
	return false
}
