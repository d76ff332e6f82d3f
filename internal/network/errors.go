package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrConflict says that an engine's addresses are already in use on the host. Another slot
// may be free.
var ErrConflict = errors.New("addresses in use on the host")

// ConflictError says which addresses are in use, and by what. It matches [ErrConflict].
type ConflictError struct {
	Pair netip.Prefix // the addresses that the engine would have got
	With string       // what has them: "route 198.18.0.0/16 of tun0"
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("network %s is already in use on this host by %s: use another slot", e.Pair, e.With)
}

// Unwrap makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }
