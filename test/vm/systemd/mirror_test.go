package systemd

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mirrorUnits installs the mirror's units and has systemd listen.
func mirrorUnits(t *testing.T) {
	t.Helper()
	needsSystemd(t)
	for _, name := range []string{"berth-mirror.socket", "berth-mirror.service"} {
		text, err := os.ReadFile(units + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("/etc/systemd/system/"+name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		must(t, "systemctl", "disable", "--now", "berth-mirror.socket", "berth-mirror.service")
		if _, err := os.Stat("/run/berth/mirror.sock"); err == nil {
			t.Error("the mirror's socket is still there")
		}
		must(t, "rm", "-rf", "/var/lib/berth/mirror")
	})
	must(t, "systemctl", "enable", "--now", "berth-mirror.socket")
}

// The first engine that looks for a mirror starts it; a mirror that dies is there for the next
// who asks; and stopping ends it.
func TestMirrorIsStartedByItsSocket(t *testing.T) {
	mirrorUnits(t)
	const service = "berth-mirror.service"
	if state := property(t, service, "ActiveState"); state != "inactive" {
		t.Fatalf("the mirror is %s before anybody asks", state)
	}
	must(t, "berth", "run", "--no-share-cwd", "--mirror", "local", "--", "docker", "version")
	out := must(t, "berth", "mirror", "status")
	main := property(t, service, "MainPID")
	if state := property(t, service, "ActiveState"); state != "active" || !strings.Contains(out, "/run/berth/mirror.sock") {
		t.Errorf("the mirror is %s after an engine has looked for it: %s", state, out)
	}
	pid, err := strconv.Atoi(main)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	must(t, "berth", "mirror", "ls") // asked just now: it waits for the next
	if again := property(t, service, "MainPID"); again == main || again == "0" {
		t.Errorf("the mirror's main process is %s after %s was killed", again, main)
	}
	// systemd-analyze judges how much an attacker could do from within; 10 is everything.
	if score, err := try("systemd-analyze", "security", "--no-pager", "--threshold=50", service); err != nil {
		t.Errorf("the service is not confined: %v %s", err, score)
	}
	must(t, "systemctl", "stop", "berth-mirror.socket", service)
	if out, err := try("berth", "mirror", "status"); err == nil {
		t.Errorf("a mirror that was stopped answers: %s", out)
	}
}
