package linux

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Slim gives back the memory that a program needed to begin: garbage, and the pages of its
// own file, most of which the start alone has touched. It is for a program that waits from
// now on. What it needs again comes back from the page cache, or from its file.
func Slim() error {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		start, end, ok := unwritten(lines.Text(), self)
		if !ok {
			continue
		}
		// On pages that nobody has written, MADV_DONTNEED forgets nothing (madvise(2)).
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return lines.Err()
}

// unwritten reads a line of proc_pid_maps(5) and returns the range, if it maps file so that
// it cannot be written.
func unwritten(line, file string) (start, end uintptr, ok bool) {
	var perms, offset, device, inode string
	if _, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &start, &end, &perms, &offset, &device, &inode); err != nil {
		return 0, 0, false
	}
	return start, end, strings.HasPrefix(perms, "r-") && strings.HasSuffix(line, " "+file) && end > start
}
