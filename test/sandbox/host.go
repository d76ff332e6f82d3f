package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// host makes the namespaces into a little machine, starts the tests and reaps
// until they end. As it is PID 1, its own end is the end of everything inside.
func host(work string) (int, error) {
	runtime.LockOSThread() // a cgroup namespace belongs to a thread, and the tests inherit this one's
	defer runtime.UnlockOSThread()
	for _, step := range []struct {
		what string
		do   func(string) error
	}{
		{"join the test's cgroups", joinCgroups},
		{"mount", mountAll},
		{"bring up the network", uplink},
		{"host name", func(string) error { return unix.Sethostname([]byte("berth-test")) }},
	} {
		if err := step.do(work); err != nil {
			return 1, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	cmd := again("tests", os.Args[1:])
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	stop := forward(cmd.Process)
	defer stop()
	return reap(cmd.Process.Pid)
}

// reap waits for every orphan until the process pid itself has ended.
func reap(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case got == pid && ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}

// mountAll puts private directories where programs leave their traces. /var/lib
// and /tmp are on a disk, as a data root is; /run is in memory, as it is on a
// machine.
func mountAll(work string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for dir, mode := range map[string]os.FileMode{"/tmp": 0o1777, "/var/lib": 0o755} {
		restore, err := keepBelow(dir)
		if err != nil {
			return err
		}
		source := filepath.Join(work, filepath.Base(dir))
		if err := os.Mkdir(source, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(source, mode&0o777|sticky(mode)); err != nil {
			return err
		}
		if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if err := restore(); err != nil {
			return err
		}
	}
	if err := userFiles(work); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	return mountSys()
}

// keepBelow remembers what the tests need of a directory that is about to be covered, for who
// has cloned into /tmp or keeps the go command's caches there; restore puts it back in place.
func keepBelow(dir string) (restore func() error, err error) {
	paths, err := neededBelow(dir)
	if err != nil {
		return nil, err
	}
	kept := map[string]*os.File{}
	for _, path := range paths {
		if f, err := os.Open(path); err == nil {
			kept[path] = f
		}
	}
	return func() error {
		for path, f := range kept {
			defer f.Close()
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("keep %s: %w", path, err)
			}
		}
		return nil
	}, nil
}

// neededBelow are the paths below dir that tests need.
func neededBelow(dir string) (paths []string, err error) {
	repository, err := filepath.Abs("../..") // a test runs in its package's directory
	if err != nil {
		return nil, err
	}
	for _, path := range []string{repository, os.Getenv("GOCACHE"), os.Getenv("GOMODCACHE"), os.Getenv("GOPATH")} {
		if strings.HasPrefix(path, dir+"/") {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func sticky(mode os.FileMode) os.FileMode {
	if mode&0o1000 != 0 {
		return os.ModeSticky
	}
	return 0
}

// User is an ordinary user that exists in the sandbox, with a range of
// subordinate ids.
const (
	UserName = "tester"
	UserID   = 1234
	SubID    = 300000 // first subordinate id
	SubCount = 65536
)

// userFiles replaces the files which say who there is and where names are
// looked up by copies that belong to the sandbox.
func userFiles(work string) error {
	dir := filepath.Join(work, "etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	sub := fmt.Sprintf("%s:%d:%d\n", UserName, SubID, SubCount)
	for name, text := range map[string]string{
		"passwd":      fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\n%s:x:%d:%d::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", UserName, UserID, UserID),
		"group":       fmt.Sprintf("root:x:0:\n%s:x:%d:\nnogroup:x:65534:\n", UserName, UserID),
		"subuid":      sub,
		"subgid":      sub,
		"resolv.conf": "nameserver " + InternetAddress + "\n",
		"hosts":       "127.0.0.1 localhost\n",
	} {
		source, target := filepath.Join(dir, name), filepath.Join("/etc", name)
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			return err
		}
		if _, err := os.Stat(target); os.IsNotExist(err) {
			continue // nothing to cover, and the machine's own directory stays as it is
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return nil
}
