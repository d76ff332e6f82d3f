package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// daemon is one program of the cluster.
type daemon struct {
	name string // also of its log
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (c *Cluster) log(name string) string { return filepath.Join(c.dir, "log", name) }

// start starts a program of the cluster's under name; what it writes goes to its log.
func (c *Cluster) start(name, program string, args ...string) error {
	_, err := c.run(name, exec.Command(filepath.Join(c.bin, program), args...))
	return err
}

// run starts a command; its Env is added to what every program of the cluster's has.
func (c *Cluster) run(name string, cmd *exec.Cmd) (*daemon, error) {
	log, err := os.OpenFile(c.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &daemon{name: name, cmd: cmd, done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Dir = log, log, "/"
	d.cmd.Env = slices.Concat(os.Environ(), []string{"PATH=" + c.bin + ":" + os.Getenv("PATH")}, cmd.Env)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.daemons = append(c.daemons, d)
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait()
	}()
	return d, nil
}

// end ends the daemons with these names, newest first, and waits for them.
func (c *Cluster) end(signal unix.Signal, names ...string) {
	wanted := " " + strings.Join(names, " ") + " "
	for i := len(c.daemons) - 1; i >= 0; i-- {
		d := c.daemons[i]
		if len(names) > 0 && !strings.Contains(wanted, " "+d.name+" ") {
			continue
		}
		_ = d.cmd.Process.Signal(signal)
		<-d.done
		c.daemons = append(c.daemons[:i], c.daemons[i+1:]...)
	}
}

// dead names the daemons that have ended by themselves, each with the end of its log.
func (c *Cluster) dead() string {
	var out strings.Builder
	for _, d := range c.daemons {
		select {
		case <-d.done:
			text, _ := os.ReadFile(c.log(d.name))
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			fmt.Fprintf(&out, "%s ended, %s:\n%s\n", d.name, d.cmd.ProcessState, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		default:
		}
	}
	return out.String()
}
