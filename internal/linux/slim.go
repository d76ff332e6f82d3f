package linux

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Slim gives back the memory that a program needed to begin: garbage, and the pages of its
// own file, as [Forget] does, now and after every collection of garbage: that reads a good part
// of the program, and comes every two minutes even if nothing happens. It is for a program that
// waits from now on, and is called once.
func Slim() error {
	if _, err := ownFile(); err != nil {
		return err
	}
	debug.FreeOSMemory()
	afterCollections(func() { _ = Forget() }) // what is mapped stays mapped: it cannot fail later
	return Forget()
}

// afterCollections has f called after each collection of garbage, by making some for the next.
func afterCollections(f func()) {
	runtime.AddCleanup(new(span), func(f func()) {
		afterCollections(f)
		f()
	}, f)
}

// Forget gives back the pages of the program's own file. What is needed again comes back from
// the page cache, or from the file.
func Forget() error {
	ranges, err := ownFile()
	if err != nil {
		return err
	}
	// The text is the first of them and goes last: whatever runs brings pages of it back.
	for _, r := range slices.Backward(ranges) {
		// On pages that nobody has written, MADV_DONTNEED forgets nothing (madvise(2)).
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.start, r.size, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

// ownFile is where this process has its own file in memory.
var ownFile = sync.OnceValues(func() ([]span, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	return unwritten(string(maps), self), nil
})

// span is a part of a process's memory.
type span struct{ start, size uintptr }

// unwritten returns what of proc_pid_maps(5) maps the file so that it cannot be written, in
// the order of addresses.
func unwritten(maps, file string) (out []span) {
	for line := range strings.Lines(maps) {
		addresses, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !strings.HasPrefix(rest, "r-") || !strings.HasSuffix(rest, " "+file) {
			continue
		}
		from, to, _ := strings.Cut(addresses, "-")
		start, err1 := strconv.ParseUint(from, 16, 0)
		end, err2 := strconv.ParseUint(to, 16, 0)
		if err1 == nil && err2 == nil && end > start {
			out = append(out, span{uintptr(start), uintptr(end - start)})
		}
	}
	return out
}
