package linux

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
)

// Without its pages the program goes on, with less in memory.
func TestSlim(t *testing.T) {
	before := resident(t)
	if err := Slim(); err != nil {
		t.Fatal(err)
	}
	if after := resident(t); after >= before {
		t.Errorf("%d KiB of files in memory before, %d after", before, after)
	}
}

func TestAfterCollections(t *testing.T) {
	called := make(chan struct{}, 1)
	afterCollections(func() {
		select {
		case called <- struct{}{}:
		default: // the test is over
		}
	})
	for range 3 {
		runtime.GC()
		<-called
	}
}

func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no RssFile in %s", status)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUnwritten(t *testing.T) {
	const maps = `00400000-01513000 r-xp 00000000 fe:00 10966119                           /usr/bin/berth
01513000-07d28000 r--p 01113000 fe:00 10966119                           /usr/bin/berth
07d28000-07dd2000 rw-p 07928000 fe:00 10966119                           /usr/bin/berth
c000000000-c000800000 rw-p 00000000 00:00 0 
7f0000000000-7f0000001000 r--p 00000000 fe:00 10966120                   /usr/bin/not-berth
7f0000002000-7f0000003000 r-xp 00000000 fe:00 10966119                   /usr/bin/berth (deleted)
7ffd7a9c6000-7ffd7a9ca000 r--p 00000000 00:00 0                          [vvar]
`
	want := []span{{0x400000, 0x1113000}, {0x1513000, 0x6815000}}
	if got := unwritten(maps, "/usr/bin/berth"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := unwritten("", "/usr/bin/berth"); len(got) != 0 {
		t.Errorf("%x of nothing", got)
	}
}
