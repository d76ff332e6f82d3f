package state

import "path/filepath"

// MirrorSocket is where the mirror of this machine serves engines, MirrorControl where it
// answers the verbs that look after it: engines must not reach that.
func (p Paths) MirrorSocket() string  { return filepath.Join(p.Run, "mirror.sock") }
func (p Paths) MirrorControl() string { return filepath.Join(p.Run, "mirror-control.sock") }

// Mirror holds the mirror's content, and its authority in tls/.
func (p Paths) Mirror() string    { return filepath.Join(p.State, "mirror") }
func (p Paths) MirrorTLS() string { return filepath.Join(p.Mirror(), "tls") }
