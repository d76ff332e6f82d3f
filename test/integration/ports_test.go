package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// serving publishes port 5432 in the caller's engine, reads it at localhost, and
// holds it until a line comes in.
const serving = `
	docker load -q -i %s >/dev/null
	docker run -d --name web -p 5432:5432 %s sh -c "mkdir /www; echo I am %s >/www/name; exec httpd -f -p 5432 -h /www" >/dev/null
	echo serving
	read wait
	%s wget -q -O - http://localhost:5432/name`

// Two engines publish the same port, each for its own command alone.
func TestTwoEnginesOnOnePort(t *testing.T) {
	guard(t)
	type side struct {
		name string
		cmd  *exec.Cmd
		out  strings.Builder
	}
	var sides []*side
	var release []func()
	for _, name := range []string{"one", "two"} {
		s := &side{name: name}
		s.cmd = command(t, nil, "run", "--", "sh", "-ec", fmt.Sprintf(serving, imageTar, imageName, name, busybox))
		stdin, err := s.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		s.cmd.Stderr = &s.out
		stdout, err := s.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := stdout.Read(buf)
		if err != nil || !strings.Contains(string(buf[:n]), "serving") {
			s.cmd.Wait()
			t.Fatalf("%s: %q %v\n%s", name, buf[:n], err, s.out.String())
		}
		sides = append(sides, s)
		release = append(release, func() {
			stdin.Write([]byte("\n"))
			for {
				n, err := stdout.Read(buf)
				s.out.Write(buf[:n])
				if err != nil {
					return
				}
			}
		})
	}
	for i, s := range sides { // both are serving now
		release[i]()
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("%s: %v: %s", s.name, err, s.out.String())
		}
		if got := strings.TrimSpace(s.out.String()); got != "I am "+s.name {
			t.Errorf("localhost:5432 of %s answered %q", s.name, got)
		}
	}
	if out, err := exec.Command(busybox, "nc", "-w", "1", "127.0.0.1", "5432").CombinedOutput(); err == nil {
		t.Errorf("port 5432 is open on the host: %q", out)
	}
}

// A published port out of range, or taken, is docker's clear error.
func TestBadPorts(t *testing.T) {
	guard(t)
	e := up(t, "badports")
	if r := e.try("run", "--rm", "-p", "99999:80", imageName); r.code != 125 {
		t.Errorf("port 99999: %s", r)
	}
	e.docker("run", "-d", "-p", "80:80", imageName, "sleep", "100")
	r := e.try("run", "--rm", "-p", "80:80", imageName)
	if r.code != 125 {
		t.Errorf("port taken: %s", r)
	}
	want(t, "port taken", r.stderr, "port is already allocated")
}
