package main

import (
	"fmt"
	"os"
	"regexp"

	"github.com/berth-dev/berth/test/vm/machine"
)

// dockerDir is where Debian's docker.io is in the machine, for a host that has Docker. The
// tests look for it there.
const dockerDir = "/usr/lib/berth-vm/docker.io"

var dockerPackages = []string{"docker.io", "containerd", "runc", "tini", "libdevmapper1.02.1"}

// root is what the tests need.
func (s settings) root() machine.Root {
	r := machine.Base().With(machine.Root{Packages: []string{"crun"}, Apart: map[string][]string{dockerDir[1:]: dockerPackages}})
	if s.Init == "systemd" {
		r = r.With(machine.Root{Packages: []string{"firewalld"}, Without: withPython})
	}
	return r
}

// withPython leaves out what firewalld does not need: it asks PolicyKit about users other than root.
var withPython = regexp.MustCompile(machine.NotNeeded + `|^polkitd$|^libpolkit|^libduktape`)

func (s settings) store() machine.Store { return machine.Store{Dir: s.Cache, Say: say} }

// say tells what takes its time.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }
