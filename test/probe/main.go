// Command probe tries, from inside a container, one thing that an engine must
// not be able to do to its host, and prints "ok" or the kernel's error by name.
//
// Every attempt is harmless if it should succeed: files are opened and not
// written, what is loaded is no module, the clock is set to what it shows.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probes take the arguments behind their names.
var probes = map[string]func(args []string) error{
	"read":      func(a []string) error { return attempt(a[0], unix.O_RDONLY, true) },
	"write":     func(a []string) error { return attempt(a[0], unix.O_WRONLY, false) },
	"writable":  writable,
	"mknod":     mknod,
	"module":    module,
	"clock":     clock,
	"adjtime":   adjtime,
	"connect":   func(a []string) error { return connect(a[0]) },
	"keyring":   func(a []string) error { return keyring(a[0]) },
	"handle":    handle,
	"ptrace":    ptrace,
	"swapon":    func([]string) error { return call(unix.SYS_SWAPON, "/proc/self/exe") },
	"acct":      func([]string) error { return call(unix.SYS_ACCT, "/tmp/acct") },
	"kexec":     func([]string) error { return number(unix.SYS_KEXEC_LOAD, 0, 0, 0) },
	"bpf":       bpf,
	"iopl":      func([]string) error { return number(unix.SYS_IOPL, 3, 0, 0) },
	"rlimit":    rlimit,
	"remount":   func(a []string) error { return unix.Mount("", a[0], "", unix.MS_REMOUNT|unix.MS_BIND, "") },
	"mount":     func(a []string) error { return unix.Mount(a[0], a[1], a[2], unix.MS_RDONLY, "") },
	"reboot":    func([]string) error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) },
	"fds":       descriptors,
	"oom-score": func([]string) error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) },
}

func main() {
	runtime.LockOSThread() // ptrace(2) and setting limits belong to a thread
	if len(os.Args) < 2 || probes[os.Args[1]] == nil {
		fmt.Println("no such probe:", os.Args[1:])
		os.Exit(2)
	}
	err := probes[os.Args[1]](os.Args[2:])
	var errno unix.Errno
	switch {
	case err == nil:
		fmt.Println("ok")
	case errors.As(err, &errno):
		fmt.Println(unix.ErrnoName(errno))
		os.Exit(1)
	default:
		fmt.Println(err)
		os.Exit(1)
	}
}

// attempt opens a file and, when asked, reads a byte.
func attempt(path string, flags int, read bool) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !read {
		return nil
	}
	_, err = unix.Read(fd, make([]byte, 1))
	return err
}

// writable prints every file below the directories that can be opened for
// writing.
func writable(dirs []string) error {
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && attempt(path, unix.O_WRONLY, false) == nil {
				fmt.Println(path)
			}
			return nil
		})
	}
	return nil
}

// mknod makes a device (b or c, major, minor) and opens it.
func mknod(a []string) error {
	mode := uint32(unix.S_IFBLK)
	if a[0] == "c" {
		mode = unix.S_IFCHR
	}
	major, err1 := strconv.ParseUint(a[1], 10, 32)
	minor, err2 := strconv.ParseUint(a[2], 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	path := "/tmp/device"
	if err := unix.Mknod(path, mode|0o600, int(unix.Mkdev(uint32(major), uint32(minor)))); err != nil {
		return err
	}
	return attempt(path, unix.O_RDONLY, true)
}

func module([]string) error {
	garbage := []byte("this is no module")
	empty, _ := unix.BytePtrFromString("")
	return number(unix.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&garbage[0])), uintptr(len(garbage)), uintptr(unsafe.Pointer(empty)))
}

func clock([]string) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	return number(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&now)), 0)
}

func adjtime([]string) error {
	_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY})
	return err
}

// connect reaches for a unix socket; @ begins an abstract name.
func connect(name string) error {
	conn, err := net.Dial("unix", name)
	if err == nil {
		conn.Close()
	}
	return err
}

// keyring looks for a key by its description, in every way there is.
func keyring(description string) error {
	listed, _ := os.ReadFile("/proc/keys")
	if strings.Contains(string(listed), description) {
		return nil
	}
	for _, ring := range []int{unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_USER_SESSION_KEYRING, unix.KEY_SPEC_SESSION_KEYRING} {
		if _, err := unix.KeyctlSearch(ring, "user", description, 0); err == nil {
			return nil
		}
	}
	return unix.ENOKEY
}

// handle opens inode 2, the root of most file systems, by a file handle made up
// on the file system that the path is on.
func handle(a []string) error {
	fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, form := range []struct {
		kind int32
		data []byte
	}{{1, []byte{2, 0, 0, 0, 0, 0, 0, 0}}, {2, make([]byte, 12)}} {
		h := unix.NewFileHandle(form.kind, form.data)
		var opened int
		if opened, err = unix.OpenByHandleAt(fd, h, unix.O_RDONLY); err == nil {
			unix.Close(opened)
			return nil
		}
	}
	return err
}

// ptrace attaches to every process that can be seen and prints those that let
// it, then lets go.
func ptrace([]string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		if err := unix.PtraceSeize(pid); err == nil {
			text, _ := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
			fmt.Println(strings.ReplaceAll(string(text), "\x00", " "))
			unix.PtraceDetach(pid)
		}
	}
	return nil
}

// bpf loads the smallest program there is ("return 0") as a cgroup device
// filter, which needs rights over the host.
func bpf([]string) error {
	// Two instructions of eight bytes, of which only the first byte is not zero.
	program := [2][8]byte{{0xb7}, {0x95}}
	license := [4]byte{'G', 'P', 'L'}
	attr := struct {
		kind, count    uint32
		insns, license uint64
		rest           [12]uint64
	}{kind: 15, count: 2, insns: uint64(uintptr(unsafe.Pointer(&program))), license: uint64(uintptr(unsafe.Pointer(&license)))}
	return number(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

// rlimit raises a hard limit, which is the host's to give.
func rlimit([]string) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return err
	}
	now.Max++
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &now)
}

// descriptors prints what process 1 has open.
func descriptors([]string) error {
	entries, err := os.ReadDir("/proc/1/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := "/proc/1/fd/" + entry.Name()
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		kind := "file"
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			kind = "directory"
		}
		fmt.Println(kind, target)
	}
	return nil
}

func call(nr uintptr, path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	return number(nr, uintptr(unsafe.Pointer(p)), 0, 0)
}

func number(nr, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(nr, a, b, c); errno != 0 {
		return errno
	}
	return nil
}
