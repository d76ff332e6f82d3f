package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal of this process (credentials(7), tty(4)).
type terminal struct{ file *os.File }

// controllingTerminal returns nil when there is none. It is not asked of standard input
// or output: they may be redirected while the terminal still sends its signals.
func controllingTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return &terminal{f}
}

// foreground tells whether the terminal's own signals (^C, ^\) reach berth's process
// group, and so the command in it, without berth's help.
func (t *terminal) foreground() bool {
	pgrp, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

func (t *terminal) close() {
	if t != nil {
		t.file.Close()
	}
}

// IsTerminal tells whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
