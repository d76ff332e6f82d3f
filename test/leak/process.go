package leak

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processes describes each process by number, start time and command, so that a
// number given out again is not mistaken for the old process. The snapshot's own
// process is left out.
func processes(s Scope) ([]string, error) {
	var out []string
	return out, eachProcess(func(pid int, dir string) {
		fields := afterComm(read(dir + "/stat"))
		if len(fields) < 20 || pid == os.Getpid() {
			return
		}
		if kernelThread := fields[1] == "2" || pid == 2; kernelThread {
			return
		}
		if orphan := fields[0] == "Z" && fields[1] == "1"; orphan {
			return // it has ended, and init is about to collect it
		}
		command := strings.ReplaceAll(read(dir+"/cmdline"), "\x00", " ")
		if s.All || s.isBerth(dir, command) {
			out = append(out, fmt.Sprintf("%d started %s state %s (%s) %s", pid, fields[19], zombie(fields[0]), read(dir+"/comm"), clip(command)))
		}
	})
}

// isBerth goes by the program, the arguments and the cgroup: a process of an
// engine has one of them from berth.
func (s Scope) isBerth(dir, command string) bool {
	exe, _ := os.Readlink(dir + "/exe")
	if filepath.Base(exe) == "berth" {
		return true
	}
	for _, mark := range s.Marks {
		if strings.Contains(mark, "/") && (strings.Contains(exe, mark) || strings.Contains(command, mark)) {
			return true
		}
	}
	return strings.Contains(read(dir+"/cgroup"), "/berth/")
}

// namespaces lists those that processes are in. With marks only there is
// nothing to compare: they go with the processes.
func namespaces(s Scope) ([]string, error) {
	if !s.All {
		return nil, nil
	}
	var out []string
	return out, eachProcess(func(pid int, dir string) {
		entries, _ := os.ReadDir(dir + "/ns")
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), "_for_children") {
				continue
			}
			if link, err := os.Readlink(dir + "/ns/" + entry.Name()); err == nil {
				out = append(out, link)
			}
		}
	})
}

func eachProcess(visit func(pid int, dir string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			visit(pid, "/proc/"+entry.Name())
		}
	}
	return nil
}

// afterComm splits a line of /proc/PID/stat behind the command's name, which may
// hold blanks and brackets itself (proc(5)).
func afterComm(stat string) []string {
	if i := strings.LastIndexByte(stat, ')'); i >= 0 {
		return strings.Fields(stat[i+1:])
	}
	return nil
}

// zombie keeps the one state that does not change from moment to moment.
func zombie(state string) string {
	if state == "Z" {
		return "zombie"
	}
	return "alive"
}

func clip(text string) string {
	if len(text) > 160 {
		return text[:160] + "…"
	}
	return text
}
