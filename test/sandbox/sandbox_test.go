package sandbox

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Run(m.Run)) }

func TestTheSandboxIsALittleHost(t *testing.T) {
	if pid := os.Getpid(); pid > 100 {
		t.Errorf("process %d: not in a pid namespace of its own", pid)
	}
	for _, dir := range []string{"/tmp", "/var/lib"} {
		needed, err := neededBelow(dir)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
			return slices.ContainsFunc(needed, func(path string) bool { return strings.HasPrefix(path+"/", dir+"/"+e.Name()+"/") })
		})
		if err != nil || len(entries) != 0 {
			t.Errorf("%s is not empty: %v %v", dir, entries, err)
		}
	}
	links, err := net.Interfaces()
	if err != nil || len(links) != 2 {
		t.Errorf("interfaces %v %v, want lo and %s", links, err, UplinkName)
	}
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(cgroup)) {
		if !strings.HasSuffix(strings.TrimSpace(line), ":/") {
			t.Errorf("cgroup %q is not the root of the namespace", line)
		}
	}
	out, err := exec.Command("sh", "-c", "mkdir /sys/fs/cgroup/pids/x 2>/dev/null && rmdir /sys/fs/cgroup/pids/x; id "+UserName).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", out, err)
	}
}

func TestTheInternetAnswers(t *testing.T) {
	var listener net.Listener
	err := Internet(func() (err error) {
		listener, err = net.Listen("tcp", InternetAddress+":80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", InternetAddress+":80")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if local := conn.LocalAddr().(*net.TCPAddr).IP.String(); local != HostAddress {
		t.Errorf("reached the internet from %s", local)
	}
}
