package engine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/snapshot"
)

// engineVersion is the version of dockerd in a payload, if that is this berth's; else empty.
func engineVersion(digest string) string {
	p, err := payload.Embedded()
	if err != nil || p.Digest() != digest {
		return ""
	}
	versions, err := p.Versions()
	if err != nil {
		return ""
	}
	return versions["docker-engine"]
}

// checkVersion refuses a snapshot of a newer dockerd, whose databases an older one does not
// know. Those of older ones are brought up to date by dockerd itself, in each fork.
func checkVersion(man *snapshot.Manifest, own string) error {
	if major(man.Engine) <= major(own) {
		return nil
	}
	return fmt.Errorf("%w: %s was made by Docker Engine %s, and this berth has %s; use a berth as new as that, or make the snapshot anew",
		snapshot.ErrUnfit, man.Ref(), man.Engine, own)
}

// major is the first number of a version; 0 when there is none.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(first)
	return n
}
