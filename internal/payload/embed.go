package payload

import (
	"embed"
	"io/fs"
)

//go:embed files
var embedded embed.FS

// Embedded returns the payload inside the running program, or ErrNotBuilt when it
// was compiled without one.
func Embedded() (*Payload, error) {
	files, err := fs.Sub(embedded, "files")
	if err != nil {
		return nil, err
	}
	return Open(files)
}
