// Package tarfile is what readers of tar archives that may come from anybody have in common.
package tarfile

import (
	"archive/tar"
	"strings"
)

// Sparse reports whether an entry has holes: archive/tar reads any number of zeros from it for a
// few bytes of archive, without asking its reader (GNU tar, "Storing Sparse Files"). Entries
// of GNU's older kind have a type of their own, tar.TypeGNUSparse.
func Sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
