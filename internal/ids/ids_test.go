package ids

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var all = []user.IDMap{{ID: 0, ParentID: 0, Count: 4294967295}}

func TestSlot(t *testing.T) {
	h := Host{Map: all, SubUIDs: []user.SubID{{Name: "me", SubID: First + Size - 1, Count: 2}}, SubGIDs: []user.SubID{{Name: "me", SubID: First + 5*Size, Count: Size}}}
	for slot, want := range map[int]bool{0: false, 1: false, 2: true, 4: true, 5: false, 6: true, Slots - 1: true} {
		r, ok := h.Slot(slot)
		if ok != want {
			t.Errorf("slot %d: free = %v, want %v", slot, ok, want)
		}
		if ok && (r.First != First+uint32(slot)*Size || r.Size != Size || r.First%Size != 0) {
			t.Errorf("slot %d: range %v", slot, r)
		}
	}
	if r, _ := (Host{Map: all}).Slot(Slots - 1); r.end()-1 > 1879048191 {
		t.Errorf("the last slot ends at %d, beyond the reserved range", r.end()-1)
	}
}

func TestSlotInsideAnEngine(t *testing.T) {
	h := Host{Map: []user.IDMap{{ID: 0, ParentID: 700000, Count: Size}}}
	if r, ok := h.Slot(7); !ok || r != (Range{0, Size}) {
		t.Errorf("got %v, %v; want all ids of the namespace", r, ok)
	}
}

func TestSubordinate(t *testing.T) {
	subs := []user.SubID{{Name: "small", SubID: 1, Count: 10}, {Name: "me", SubID: 100000, Count: Size}, {Name: "1001", SubID: 200000, Count: 2 * Size}}
	for _, c := range []struct {
		name string
		uid  int
		want Range
		ok   bool
	}{{"me", 1000, Range{100000, Size}, true}, {"x", 1001, Range{200000, Size}, true}, {"small", 1, Range{}, false}, {"nobody", 9, Range{}, false}} {
		if got, ok := Subordinate(subs, c.name, c.uid); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %v", c.name, got, ok)
		}
	}
}

func TestShareMap(t *testing.T) {
	engine, rest := Range{600000, Size}, Range{100000, Size}
	for name, c := range map[string]struct {
		owner, as uint32
		want      []specs.LinuxIDMapping
	}{
		"root":    {1000, 0, []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 600000, Size: 1}, {ContainerID: 100001, HostID: 600001, Size: Size - 1}}},
		"keep-id": {1000, 1000, []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 601000, Size: 1}, {ContainerID: 100000, HostID: 600000, Size: 1000}, {ContainerID: 101001, HostID: 601001, Size: Size - 1001}}},
		"last":    {65535, 65535, []specs.LinuxIDMapping{{ContainerID: 65535, HostID: 665535, Size: 1}, {ContainerID: 100000, HostID: 600000, Size: Size - 1}}},
	} {
		got, err := ShareMap(engine, c.owner, c.as, rest)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := ShareMap(engine, 70000, 70000, rest); err == nil {
		t.Error("an id that the engine does not have was accepted")
	}
	if _, err := ShareMap(engine, 100005, 0, rest); err == nil {
		t.Error("an owner within the subordinate range was accepted: the map would name an id twice")
	}
}
