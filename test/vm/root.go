package main

import (
	"fmt"
	"os"

	"github.com/berth-dev/berth/test/vm/machine"
)

// dockerDir is where Debian's docker.io is in the machine, for a host that has Docker. The
// tests look for it there.
const dockerDir = "/usr/lib/berth-vm/docker.io"

var dockerPackages = []string{"docker.io", "containerd", "runc", "tini", "libdevmapper1.02.1"}

// root is what the tests need.
func root() machine.Root {
	return machine.Base().With(machine.Root{Apart: map[string][]string{dockerDir[1:]: dockerPackages}})
}

func (s settings) store() machine.Store { return machine.Store{Dir: s.Cache, Say: say} }

// say tells what takes its time.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }
