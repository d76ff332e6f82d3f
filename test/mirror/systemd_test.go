package mirror

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	engineSocket  = "/run/berth/mirror.sock"
	controlSocket = "/run/berth/mirror-control.sock"
)

// socketUnit is what systemd does for a socket unit and the service that it starts.
type socketUnit struct {
	files  []*os.File // one for each socket
	notify *net.UnixConn
	path   string // of notify
}

// newSocketUnit listens on addresses, unix sockets' with the mode.
func newSocketUnit(t *testing.T, mode os.FileMode, addresses ...string) *socketUnit {
	t.Helper()
	u := &socketUnit{path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if u.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: u.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.notify.Close() })
	if err := os.MkdirAll(filepath.Dir(engineSocket), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		network := "tcp"
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if unix, ok := l.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
			if err := os.Chmod(address, mode); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(address) })
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		u.files = append(u.files, f)
	}
	return u
}

// start starts the service; the mirror is the process that the sockets are for.
func (u *socketUnit) start(t *testing.T, args ...string) *daemon {
	t.Helper()
	shell := []string{"-c", `export LISTEN_PID=$$; exec "$@"`, "sh", berthProgram, "mirror", "serve"}
	d := &daemon{cmd: exec.Command("/bin/sh", append(shell, args...)...)}
	d.cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(u.files)), "NOTIFY_SOCKET="+u.path)
	d.cmd.ExtraFiles, d.cmd.Stderr = u.files, &d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.end(t) })
	return d
}

// ready waits for the service's word.
func (u *socketUnit) ready(t *testing.T, d *daemon) {
	t.Helper()
	buf := make([]byte, 128)
	u.notify.SetReadDeadline(time.Now().Add(limit))
	n, err := u.notify.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("the mirror told systemd %q: %v; it said %s", buf[:n], err, d.stderr.String())
	}
}

// ask makes a request that nobody may answer yet, and returns what reads the answer.
func ask(t *testing.T) func() string {
	t.Helper()
	conn, err := net.Dial("unix", engineSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return func() string {
		conn.SetReadDeadline(time.Now().Add(limit))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
}

// With sockets of systemd's, who asks while no mirror runs, or between two, is answered.
func TestSocketsOfSystemd(t *testing.T) {
	u := newSocketUnit(t, 0o600, engineSocket, controlSocket, "127.0.0.1:0")
	early := ask(t)
	first := u.start(t)
	u.ready(t, first)
	if got := early(); got != "HTTP/1.1 200 OK" {
		t.Errorf("a request before the mirror ran: %s", got)
	}
	l, err := net.FileListener(u.files[2])
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if out := must(t, "mirror", "status"); !strings.Contains(out, "https://"+address) {
		t.Errorf("the mirror does not serve on %s: %s", address, out)
	}
	if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", first.cmd.Process.Pid)); err != nil || len(fds) > 20 {
		t.Errorf("%d descriptors: %v", len(fds), err)
	}
	first.stop(syscall.SIGTERM)
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d: %s", code, first.stderr.String())
	}
	between := ask(t)
	second := u.start(t, "--dir", filepath.Join(t.TempDir(), "elsewhere"))
	u.ready(t, second)
	if got := between(); got != "HTTP/1.1 200 OK" {
		t.Errorf("a request between two mirrors: %s", got)
	}
	must(t, "mirror", "ls")
}

// What systemd hands over and the mirror cannot use is refused, with what to do.
func TestSocketsOfSystemdRefused(t *testing.T) {
	for _, test := range []struct {
		title, address, want string
		mode                 os.FileMode
	}{
		{"open to all", controlSocket, "SocketMode=0600", 0o666},
		{"another", "/run/berth/else.sock", "berth-mirror.socket", 0o600},
		{"a public address without TLS", "0.0.0.0:0", "loopback", 0o600},
	} {
		t.Run(test.title, func(t *testing.T) {
			u := newSocketUnit(t, test.mode, test.address)
			d := u.start(t, "--plain-http")
			d.cmd.Wait()
			if code := d.cmd.ProcessState.ExitCode(); code != 125 || !strings.Contains(d.stderr.String(), test.want) || strings.Count(d.stderr.String(), "\n") != 1 {
				t.Errorf("status %d: %s", code, d.stderr.String())
			}
		})
	}
}
