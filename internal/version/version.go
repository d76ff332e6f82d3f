// Package version says which berth this is. The values are set by the linker
// (make build); a program built in another way falls back on what the Go toolchain
// recorded. The package must not know anything else.
package version

import (
	"cmp"
	"runtime/debug"
)

// Set with -ldflags "-X github.com/berth-dev/berth/internal/version.version=…".
var (
	version string // git describe, e.g. v0.1.0-12-gabc1234
	commit  string // full hash
	date    string // of the commit, RFC 3339
)

// Version is the release or description of the sources, e.g. v0.1.0 or
// v0.1.0-12-gabc1234; "(devel)" when nothing is known.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Commit is the sources' full commit hash, empty when it is not known.
func Commit() string { return cmp.Or(commit, setting("vcs.revision")) }

// Date is when that commit was made, RFC 3339, empty when it is not known.
func Date() string { return cmp.Or(date, setting("vcs.time")) }

func setting(key string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
