// Package mirror tests `berth mirror` and what engines trust, as a user types it: a real
// mirror, real engines, and distribution/v3 as the registry, behind TLS of an authority
// that nobody knows, with faults that the tests choose.
//
// It needs root and a built berth, as package integration does, and runs in a sandbox.
package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/test/leak"
	"github.com/berth-dev/berth/test/program"
	"github.com/berth-dev/berth/test/sandbox"
)

var berthProgram string // absolute path of the program under test

// registryHost is what the tests' registry is called, on this machine only.
const registryHost = "registry.corp.test"

func TestMain(m *testing.M) {
	os.Exit(sandbox.Run(func() int {
		if err := setUp(); err != nil {
			fmt.Fprintln(os.Stderr, "mirror:", err)
			return 1
		}
		return m.Run()
	}))
}

func setUp() error {
	var err error
	if berthProgram, err = program.Find(); err != nil {
		return err
	}
	if !sandbox.Active() {
		return fmt.Errorf("these tests name a host of their own and run in the sandbox only; unset %s", sandbox.EnvReal)
	}
	hosts := filepath.Join(os.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+registryHost+"\n"), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("give the registry a name: %w", err)
	}
	return program.WarmUp(berthProgram)
}

// guard fails the test for whatever it leaves. The mirror's content is to be left.
func guard(t *testing.T) {
	t.Helper()
	leak.Guard(t, leak.Scope{All: true, Files: []string{"/run", "/tmp", "/var/lib"}, Skip: []string{"/var/lib/berth/payload", "/var/lib/berth/mirror"}})
}
