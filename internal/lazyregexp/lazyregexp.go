// Package lazyregexp compiles regular expressions when they are first used. A compiled one is
// some ten KiB of heap, and a package's variables are in every engine's monitor for good.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns a function that returns expr compiled ([regexp.MustCompile]), at each call the
// same. It panics if expr is no regular expression.
func New(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
