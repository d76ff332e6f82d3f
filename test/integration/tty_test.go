package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/deadline"
	"github.com/berth-dev/berth/test/program"
)

// console is a program on a terminal of its own.
type console struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File // the other end
	seen program.Output
	done chan struct{}
}

func onConsole(t *testing.T, cmd *exec.Cmd) *console {
	t.Helper()
	blocking, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	if err != nil {
		t.Fatal(err)
	}
	tty, err := pollable(blocking)
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, cmd: cmd, tty: tty, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			c.seen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		c.tty.Close()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return c
}

// pollable gives a file that can be closed while it is being read: closing a
// terminal is what a test of hang-up does.
func pollable(file *os.File) (*os.File, error) {
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

func (c *console) resize(rows, columns uint16) {
	c.t.Helper()
	conn, err := c.tty.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	conn.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) type_(text string) {
	if _, err := c.tty.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// sees waits for the text, from the last one that was seen on.
func (c *console) sees(text string) {
	c.t.Helper()
	for deadline := time.Now().Add(deadline.Scaled(20 * time.Second)); !strings.Contains(c.seen.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the terminal never showed %q, only %q", text, c.seen.String())
		}
	}
}

func (c *console) ends(status int) {
	c.t.Helper()
	c.cmd.Wait()
	if got := code(c.cmd.ProcessState); got != status {
		c.t.Errorf("ended with %d, want %d; the terminal showed %q", got, status, c.seen.String())
	}
}

func run(t *testing.T, text string) *exec.Cmd {
	return command(t, nil, "run", "--", "sh", "-c", text)
}

// The command sees the terminal, its size, and when that changes.
func TestWindowSize(t *testing.T) {
	guard(t)
	c := onConsole(t, run(t, `stty size; trap 'echo now $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done`))
	c.sees("33 77")
	c.sees("ready")
	c.resize(20, 50)
	c.sees("now 20 50")
	c.type_("\x03")
	c.ends(130)
}

// ^C is the command's: it may catch it and go on.
func TestInterruptKey(t *testing.T) {
	guard(t)
	c := onConsole(t, run(t, `trap 'echo caught' INT; echo ready; sleep 100; echo after; exit 5`))
	c.sees("ready")
	c.type_("\x03")
	c.sees("caught")
	c.sees("after")
	c.ends(5)
}

// ^C while the engine is starting ends berth.
func TestInterruptKeyDuringTheStart(t *testing.T) {
	guard(t)
	c := onConsole(t, run(t, "sleep 100"))
	time.Sleep(50 * time.Millisecond)
	c.type_("\x03")
	c.ends(130)
}

// Raw mode reaches the command, and the terminal is sane again afterwards.
func TestRawMode(t *testing.T) {
	guard(t)
	c := onConsole(t, run(t, `stty raw -echo; echo ready; k=$(dd bs=1 count=1 2>/dev/null | od -An -tx1); echo "key$k"`))
	c.sees("ready")
	c.type_("\x03") // in raw mode a key like any other
	c.sees("key 03")
	c.ends(0)
}

// Job control: a shell may suspend `berth run` and bring it back.
func TestJobControl(t *testing.T) {
	guard(t)
	shell := exec.Command("bash", "--norc", "--noprofile", "-i")
	shell.Env = append(os.Environ(), "PS1=$ ", "TERM=dumb", "HISTFILE=")
	c := onConsole(t, shell)
	c.sees("$ ")
	c.type_(berthProgram + " run -- sh -c 'echo rea''dy; read x; echo got $x; exit 3'\n")
	c.sees("ready")
	c.type_("\x1a")
	c.sees("Stopped")
	c.type_("echo shell ali''ve\n")
	c.sees("shell alive")
	c.type_("fg\n")
	c.type_("input\n")
	c.sees("got input")
	c.type_("echo status $?\n")
	c.sees("status 3")
	c.type_("exit\n")
	c.ends(0)
}

// A terminal that goes away takes the command and the engine with it.
func TestHangUp(t *testing.T) {
	guard(t)
	c := onConsole(t, run(t, `echo ready; sleep 100`))
	c.sees("ready")
	c.tty.Close()
	c.ends(129)
}

// A pipe's reader that goes away is not a hang.
func TestClosedPipe(t *testing.T) {
	guard(t)
	out, err := exec.Command("sh", "-c", berthProgram+" run -- yes | head -n 1").Output()
	if err != nil || string(out) != "y\n" {
		t.Errorf("%v %q", err, out)
	}
}

// Nothing of berth's own is printed into a pipe.
func TestNoProgressInAPipe(t *testing.T) {
	guard(t)
	r := script(t, "echo out; echo err >&2")
	if r.stdout != "out\n" || r.stderr != "err\n" {
		t.Error(r)
	}
}
