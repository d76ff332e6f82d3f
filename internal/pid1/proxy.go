package pid1

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// An engine that works for a container (`berth init`) has a network namespace of its own.
// What its containers publish there must be reachable in the container's namespace too, as
// if dockerd ran there. dockerd starts a docker-proxy for each published port and waits
// until that says it works, so this program stands in for docker-proxy: it asks the monitor
// for a socket bound to the same port in the container's namespace, and runs docker-proxy
// twice, once for either namespace.
//
//	dockerd                 proxy                       monitor
//	   │ docker-proxy ARGS     │                            │
//	   ├──────────────────────▶│  {proto, ip, port}         │
//	   │                       ├───────────────────────────▶│ binds it in the container's namespace
//	   │                       │  {} + socket, or {error}   │
//	   │                       │◀───────────────────────────┤
//	   │  "0" or "1" + reason  │ becomes docker-proxy, with another one as its child
//	   │◀──────────────────────┤
const (
	// ProxyName is the name under which init is the proxy.
	ProxyName = "docker-proxy"
	// PortsSocket is where the monitor listens, inside the engine.
	PortsSocket = "/run/berth-ports.sock"

	realProxy  = "/usr/bin/docker-proxy"
	statusFD   = 3 // where dockerd waits for the outcome
	listenFlag = "-use-listen-fd"
)

// PortRequest asks for a port of the container.
type PortRequest struct {
	Proto string `json:"proto"` // tcp or udp
	IP    string `json:"ip"`
	Port  string `json:"port"`
}

// PortReply comes with the socket, unless the port cannot be had. With neither, the
// container has no such address, or the protocol is not one that can be forwarded.
type PortReply struct {
	Error  string `json:"error,omitempty"`
	Socket bool   `json:"socket,omitempty"`
}

// proxy returns only when docker-proxy cannot be run.
func proxy(args []string) int {
	runtime.LockOSThread() // the child below ends with this thread, which becomes docker-proxy
	if err := publish(args); err != nil {
		status := os.NewFile(statusFD, "status")
		fmt.Fprintf(status, "1\n%v", err)
		return 1
	}
	err := unix.Exec(realProxy, append([]string{realProxy}, args[1:]...), os.Environ())
	fmt.Fprintf(os.NewFile(statusFD, "status"), "1\n%s: %v", realProxy, err)
	return 1
}

// publish has the port served in the container's namespace.
func publish(args []string) error {
	socket, err := requestPort(PortRequest{Proto: flagValue(args, "-proto"), IP: flagValue(args, "-host-ip"), Port: flagValue(args, "-host-port")})
	if err != nil || socket == nil {
		return err
	}
	defer socket.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := append([]string{realProxy}, args[1:]...)
	if flagValue(args, listenFlag) == "" && args[len(args)-1] != listenFlag {
		argv = append(argv, listenFlag)
	}
	_, err = syscall.ForkExec(realProxy, argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{null.Fd(), 1, 2, null.Fd(), socket.Fd()},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	})
	return err
}

func flagValue(args []string, name string) string {
	for i, a := range args[:len(args)-1] {
		if a == name {
			return args[i+1]
		}
	}
	return ""
}

// requestPort returns nil without an error for what is not to be forwarded.
func requestPort(req PortRequest) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: PortsSocket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("ask for the container's port: %w", err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, err
	}
	buf, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := conn.ReadMsgUnix(buf, rights)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var reply PortReply
	if err := json.Unmarshal(buf[:n], &reply); err != nil {
		return nil, fmt.Errorf("ask for the container's port: %w", err)
	}
	if reply.Error != "" {
		return nil, errors.New(strings.TrimSpace(reply.Error))
	}
	if !reply.Socket {
		return nil, nil
	}
	return received(rights[:rn])
}

func received(rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("ask for the container's port: no socket came (%v)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("ask for the container's port: no socket came (%v)", err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "port"), nil
}
