package pid1

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup/leaf"
	"github.com/berth-dev/berth/internal/linux"
)

const (
	daemonVerb   = "daemon" // berth-init daemon DOCKERD ARG...: see execDaemon
	notifySocket = "/run/berth/notify.sock"
)

// Main is berth-init's main function. It returns the exit status: dockerd's, 128 + signal
// when a signal ended dockerd, or 125 when init itself failed.
func Main(args []string) int {
	if filepath.Base(args[0]) == ProxyName {
		return proxy(args)
	}
	if filepath.Base(args[0]) == RuntimeName {
		return ociRuntime(args)
	}
	if len(args) > 2 && args[1] == daemonVerb {
		return execDaemon(args[2:])
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "berth-init: this is the first process of an engine and is started by berth only")
		return 125
	}
	control := os.NewFile(ControlFD, "control")
	for _, fd := range []int{ControlFD, ListenerFD} {
		unix.CloseOnExec(fd)
	}
	i := &initProcess{control: control, enc: json.NewEncoder(control)}
	code, err := i.run()
	if err != nil {
		i.send(Message{Exited: &Exited{Code: 125, Reason: err.Error()}})
		return 125
	}
	i.send(Message{Exited: &Exited{Code: code}})
	return code
}

type initProcess struct {
	control *os.File
	mu      sync.Mutex // guards enc
	enc     *json.Encoder
}

// send tells the monitor; a monitor that is gone is noticed by the reader.
func (i *initProcess) send(m Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	_ = i.enc.Encode(m)
}

func (i *initProcess) run() (int, error) {
	// Signals first: PID 1 ignores what it has no handler for (pid_namespaces(7)).
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)

	messages := bufio.NewReader(i.control)
	start, err := readStart(messages)
	if err != nil {
		return 0, err
	}
	for fd := ListenerFD; fd <= ListenerFD+start.Listeners; fd++ {
		unix.CloseOnExec(fd)
	}
	if err := prepare(start); err != nil {
		return 0, err
	}
	if err := i.listenForReady(); err != nil {
		return 0, err
	}
	daemon, err := startDaemon(start)
	if err != nil {
		return 0, fmt.Errorf("start dockerd: %w", err)
	}
	go followMonitor(messages, daemon)
	return supervise(daemon, signals), nil
}

func readStart(r *bufio.Reader) (*Start, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("wait for the monitor: %w", err)
	}
	var m Message
	if err := json.Unmarshal(line, &m); err != nil || m.Start == nil {
		return nil, fmt.Errorf("the monitor sent no start message: %v", err)
	}
	return m.Start, nil
}

// followMonitor acts on what the monitor says, and ends the engine when the monitor is gone.
func followMonitor(r *bufio.Reader, daemon int) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			os.Exit(125) // PID 1's end is the end of every process in the engine
		}
		var m Message
		if json.Unmarshal(line, &m) == nil && m.Stop {
			_ = unix.Kill(daemon, unix.SIGTERM)
		}
	}
}

// prepare writes the engine's files, has its kernel forward packets, makes its mounts ready
// to be shared with containers (mount_namespaces(7), "Shared subtrees") and enters the
// cgroup leaf.
func prepare(start *Start) error {
	if err := os.Mkdir("/run/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	// dockerd refuses to make networks without; in these namespaces nobody else minds.
	for _, f := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(f, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("make mounts shared", err)
	}
	for _, f := range start.Files {
		if err := writeFile(f); err != nil {
			return err
		}
	}
	if err := leaf.Enter(); err != nil {
		return err
	}
	// What is not the engine's own must be refused loudly: dockerd would make a missing
	// source of a bind mount as an empty directory, and the user would wonder.
	return unix.Mount("", "/etc", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

func writeFile(f File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if f.Link != "" {
		return os.Symlink(f.Link, f.Path)
	}
	return os.WriteFile(f.Path, []byte(f.Data), os.FileMode(f.Mode))
}

// listenForReady makes the socket that dockerd tells its readiness to (sd_notify(3)) and
// passes it on.
func (i *initProcess) listenForReady() error {
	if err := os.MkdirAll(filepath.Dir(notifySocket), 0o700); err != nil {
		return err
	}
	return OnReady(notifySocket, func() {
		i.send(Message{Ready: true})
		_ = linux.Slim() // from now on this process only waits
	})
}

// OnReady makes the socket at path for a process that says when it is ready (sd_notify(3)),
// and calls f once when it does.
func OnReady(path string, f func()) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	go func() {
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if isReady(buf[:n]) {
				f()
				return
			}
		}
	}()
	return nil
}

// startDaemon starts dockerd by way of this program, which knows its pid only after the fork.
func startDaemon(start *Start) (pid int, err error) {
	self := "/proc/self/exe"
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	env := append([]string{"NOTIFY_SOCKET=" + notifySocket, "LISTEN_FDS=" + strconv.Itoa(1+start.Listeners)}, start.Env...)
	files := []uintptr{null.Fd(), 1, 2}
	for fd := ListenerFD; fd <= ListenerFD+start.Listeners; fd++ {
		files = append(files, uintptr(fd))
	}
	return syscall.ForkExec(self, append([]string{"berth-init", daemonVerb}, start.Args...), &syscall.ProcAttr{
		Env:   env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// execDaemon becomes dockerd. A socket is handed over by number and by the receiver's pid
// (sd_listen_fds(3)), which only the receiver itself can know before it runs.
func execDaemon(args []string) int {
	env := append(os.Environ(), "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	err := unix.Exec(args[0], args, env)
	fmt.Fprintf(os.Stderr, "berth-init: %s: %v\n", args[0], err)
	return 127
}
