package payload

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// InstalledDir is where berth's container image has the payload on disk: the manifest, and
// a tree as [Payload.Extract] makes it. It is as good as the image is: whoever can change
// it can change berth too, so it is not verified again.
const InstalledDir = "/usr/lib/berth"

// Embedded returns the payload of the running program: the one inside it, or, in berth's
// container image, the one that is installed. It is ErrNotBuilt when there is none.
func Embedded() (*Payload, error) {
	files, err := fs.Sub(embedded, "files")
	if err != nil {
		return nil, err
	}
	p, err := Open(files)
	if !errors.Is(err, ErrNotBuilt) || checkOwner(InstalledDir) != nil {
		return p, err
	}
	if p, err = Open(os.DirFS(InstalledDir)); err == nil {
		p.installed = InstalledDir
	}
	return p, err
}

// Dir is the directory of the tree with that digest: below dir, where Extract puts it,
// unless it is the installed one.
func Dir(dir, digest string) string {
	if p, err := Embedded(); err == nil && p.installed != "" && p.digest == digest {
		return p.installed
	}
	return filepath.Join(dir, digest)
}
