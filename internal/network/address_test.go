package network

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestPairs(t *testing.T) {
	for slot, want := range map[int]string{
		0:       "[198.18.0.0/31 198.19.0.0/31]",
		1:       "[198.18.0.2/31 198.19.0.2/31]",
		127:     "[198.18.0.254/31 198.19.0.254/31]",
		128:     "[198.18.1.0/31 198.19.1.0/31]",
		MaxSlot: "[198.18.255.254/31 198.19.255.254/31]",
	} {
		if got, err := Pairs(slot); err != nil || fmt.Sprint(got) != want {
			t.Errorf("slot %d: got %v, %v; want %s", slot, got, err, want)
		}
	}
	for _, slot := range []int{-1, MaxSlot + 1} {
		if _, err := Pairs(slot); err == nil {
			t.Errorf("slot %d was accepted", slot)
		}
	}
	seen := map[netip.Prefix]bool{}
	for slot := range MaxSlot + 1 {
		pairs, err := Pairs(slot)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			if seen[p] || p != p.Masked() || !Pool.Overlaps(p) {
				t.Fatalf("slot %d: %s", slot, p)
			}
			seen[p] = true
		}
	}
}

func TestLinkName(t *testing.T) {
	for id, want := range map[string]string{"0123456789ab": "bth0123456789ab", "0123456789abcdef": "bth0123456789ab", "a": "btha"} {
		if got := LinkName(id); got != want || len(got) > 15 {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
}

func TestConflictError(t *testing.T) {
	err := fmt.Errorf("plan: %w", &ConflictError{Pair: netip.MustParsePrefix("198.18.0.0/31"), With: "route 198.18.0.0/16 of tun0"})
	want := "plan: network 198.18.0.0/31 is already in use on this host by route 198.18.0.0/16 of tun0: use another slot"
	if !errors.Is(err, ErrConflict) || err.Error() != want {
		t.Error(err)
	}
}
