package snapshot

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/internal/state"
)

// Ref names a snapshot: NAME for its latest version, or NAME@VERSION.
type Ref struct {
	Name    string
	Version int // from 1; 0 stands for the latest
}

func (r Ref) String() string {
	if r.Version == 0 {
		return r.Name
	}
	return fmt.Sprintf("%s@%d", r.Name, r.Version)
}

// ParseRef is the reverse of Ref.String.
func ParseRef(s string) (Ref, error) {
	name, version, pinned := strings.Cut(s, "@")
	if !state.NamePattern().MatchString(name) {
		return Ref{}, fmt.Errorf("snapshot %q: use at most 63 of a-z 0-9 _ . - for its name and begin with a letter or digit", s)
	}
	if !pinned {
		return Ref{Name: name}, nil
	}
	n, err := strconv.Atoi(version)
	if err != nil || n < 1 || strconv.Itoa(n) != version {
		return Ref{}, fmt.Errorf("snapshot %q: versions are numbers from 1, as in %s@3", s, name)
	}
	return Ref{name, n}, nil
}
