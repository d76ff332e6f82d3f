package netns

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// Loopback is the loopback interface of any namespace: the first one there.
func Loopback() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1, Name: "lo"}}
}

// LoopbackUp brings the loopback interface of h's namespace up.
func LoopbackUp(h *netlink.Handle) error {
	if err := h.LinkSetUp(Loopback()); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	return nil
}
