package linux

import (
	"os"
	"regexp"
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
	for line, want := range map[string]bool{
		"00400000-01513000 r-xp 00000000 fe:00 10966119                           /usr/bin/berth":           true,
		"01513000-07d28000 r--p 01113000 fe:00 10966119                           /usr/bin/berth":           true,
		"07d28000-07dd2000 rw-p 07928000 fe:00 10966119                           /usr/bin/berth":           false,
		"c000000000-c000800000 rw-p 00000000 00:00 0 ":                                                      false,
		"7ffd7a9c6000-7ffd7a9ca000 r--p 00000000 00:00 0                          [vvar]":                   false,
		"00400000-01513000 r-xp 00000000 fe:00 10966119                           /usr/bin/berth (deleted)": false,
		"": false,
	} {
		start, end, ok := unwritten(line, "/usr/bin/berth")
		if ok != want || ok && (start == 0 || end <= start) {
			t.Errorf("%q: %x-%x, %v", line, start, end, ok)
		}
	}
}
