package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/cgroup"
	"github.com/berth-dev/berth/internal/distrust"
	"github.com/berth-dev/berth/internal/network/host"
	"github.com/berth-dev/berth/internal/pid1"
)

// here is a dockerd in the container's own namespaces.
type here struct {
	cmd      *exec.Cmd
	path     string
	patience time.Duration
	exited   chan struct{}
	err      error
}

func (s *starter) startHere(ctx context.Context) (started, error) {
	if err := os.MkdirAll(s.plan.dataRoot, 0o711); err != nil {
		return nil, err
	}
	if err := checkData(s.plan.dataRoot); err != nil {
		return nil, err
	}
	parent, err := s.ownCgroup()
	if err != nil {
		return nil, err
	}
	if err := forward(); err != nil {
		return nil, err
	}
	args, env, err := s.hereArgs(parent)
	if err != nil {
		return nil, err
	}
	notify := filepath.Join(runtimeDir, "notify.sock")
	ready := make(chan struct{})
	if err := pid1.OnReady(notify, func() { close(ready) }); err != nil {
		return nil, err
	}
	// Init's verb sets what only the process itself can know: LISTEN_PID.
	h := &here{path: s.listeners.unix, patience: s.plan.patience, exited: make(chan struct{})}
	h.cmd = exec.Command(initProgram, append([]string{"daemon", dockerd}, args...)...)
	h.cmd.Env = append(env, "NOTIFY_SOCKET="+notify, fmt.Sprintf("LISTEN_FDS=%d", len(s.listeners.files)))
	h.cmd.ExtraFiles = s.listeners.files
	watch := s.watch()
	h.cmd.Stdout, h.cmd.Stderr = s.Out, watch.Tee(s.Out)
	h.cmd.WaitDelay = lastWords
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		if h.err = h.cmd.Wait(); errors.Is(h.err, exec.ErrWaitDelay) { // something of dockerd's holds its log open
			h.err = nil
		}
		watch.Wait()
		close(h.exited)
	}()
	select {
	case <-ready:
		return h, nil
	case <-h.exited:
		return nil, fmt.Errorf("dockerd ended: %v; its last words are above", h.err)
	case <-ctx.Done():
		_ = h.cmd.Process.Signal(unix.SIGTERM)
		<-h.exited
		return nil, context.Cause(ctx)
	}
}

// lastWords is how long the end of a log is waited for when its dockerd has ended.
const lastWords = time.Second

// watch has the certificates explained that dockerd does not trust.
func (s *starter) watch() *distrust.Watch {
	return &distrust.Watch{
		Dial:  (&net.Dialer{}).DialContext,
		Roots: func(host string) []string { return []string{s.plan.spec.Trust.CAs, s.plan.certs.Trusted(host)} },
		Say:   func(text string) { s.say("%s", text) },
		Log:   s.Log,
	}
}

// forward has the container forward packets, also by interfaces that it gets later
// (`docker network connect`).
func forward() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("forward packets: %w; add to docker run: --sysctl net.ipv4.ip_forward=1", err)
	}
	return nil
}

// hereArgs are dockerd's arguments and environment.
func (s *starter) hereArgs(parent string) (args, env []string, err error) {
	p := s.plan
	files, err := s.hereFiles()
	if err != nil {
		return nil, nil, err
	}
	if err := lay(files); err != nil {
		return nil, nil, err
	}
	config := filepath.Join(runtimeDir, "daemon.json")
	if err := os.WriteFile(config, s.hereConfig(parent), 0o600); err != nil {
		return nil, nil, err
	}
	args = append(args, "--config-file="+config, "--data-root="+p.dataRoot)
	args = append(append(args, p.args...), p.tlsArgs(tlsDir)...)
	path, err := s.ownPrograms()
	if err != nil {
		return nil, nil, err
	}
	env = append(s.daemonEnv(), "PATH="+path, "HOME=/root")
	return args, env, nil
}

// ownPrograms puts before others what dockerd is to run in their place, and returns its PATH.
func (s *starter) ownPrograms() (string, error) {
	links := map[string]string{}
	if s.env["DOCKER_IPTABLES_LEGACY"] != "" {
		links = legacyPrograms()
	}
	if !writableSysfs() {
		// Containers that ask for a writable sysfs have to be given another.
		links[pid1.RuntimeName] = initProgram
	}
	if err := os.MkdirAll(programsDir, 0o755); err != nil {
		return "", err
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(programsDir, name)); err != nil {
			return "", err
		}
	}
	return programsDir + ":/usr/bin:/usr/sbin", nil
}

const (
	initProgram = "/usr/sbin/berth-init"
	programsDir = runtimeDir + "/bin" // before the others on dockerd's PATH
)

// writableSysfs tries whether a sysfs can be mounted that can be written to. Where /sys is
// read-only and this is a user namespace, none can (mount_namespaces(7), "Restrictions on
// mount namespaces").
func writableSysfs() bool {
	dir := filepath.Join(runtimeDir, "sysfs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return true
	}
	defer os.Remove(dir)
	if err := unix.Mount("sysfs", dir, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return false
	}
	return unix.Unmount(dir, unix.MNT_DETACH) == nil
}

// ownCgroup makes room for the containers' control groups below this container's own, and
// returns the group that they are to be in; empty for dockerd's choice.
func (s *starter) ownCgroup() (string, error) {
	own, err := cgroup.Own()
	if err == nil {
		err = cgroup.Prepare(own)
	}
	if err != nil || own == "" && s.plan.pids == 0 {
		return "", err
	}
	parent := own + "/docker"
	if s.plan.pids > 0 {
		return parent, cgroup.LimitPIDs(parent, s.plan.pids)
	}
	return parent, nil
}

// hereConfig is daemon.json: what suits a container, the user's over it.
func (s *starter) hereConfig(parent string) []byte {
	c := map[string]any{
		"hosts": []string{"fd://"}, "storage-driver": "overlayfs", "firewall-backend": "nftables",
		"exec-opts": []string{"native.cgroupdriver=cgroupfs"},
	}
	if parent != "" {
		c["cgroup-parent"] = parent
	}
	if s.env["DOCKER_IPTABLES_LEGACY"] != "" {
		c["firewall-backend"] = "iptables"
	}
	if v, err := host.Read(); err == nil {
		c["mtu"] = v.MTU()
		c["default-network-opts"] = map[string]any{"bridge": map[string]string{"com.docker.network.driver.mtu": fmt.Sprint(v.MTU())}}
	}
	_ = json.Unmarshal(s.plan.config, &c)
	for k := range s.plan.given {
		if k != "hosts" {
			delete(c, k)
		}
	}
	b, _ := json.Marshal(c)
	return b
}

func (h *here) socket() string { return h.path }

func (h *here) wait(ctx context.Context) (int, error) {
	select {
	case <-h.exited:
	case <-ctx.Done():
		_ = h.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-h.exited:
		case <-time.After(h.patience): // what is left ends with this container
			_ = h.cmd.Process.Kill()
			<-h.exited
			return 0, nil
		}
	}
	var exit *exec.ExitError
	if errors.As(h.err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, h.err
}

// checkData refuses a data root on which every image would have to be copied in full.
func checkData(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		dir = strings.TrimSuffix(dir, "/")
		advice := "add to docker run: -v " + dir
		if inPod() {
			advice = "give the container a volume there, such as an emptyDir (volumeMounts: mountPath: " + dir + ")"
		}
		return fmt.Errorf("%s is on the container's own overlay file system, on which there can be no other: %s", dir, advice)
	}
	return nil
}
