//go:build nopayload

package payload

import "embed"

// The program that berth's container image holds has no payload inside: the image has it
// on disk, where the program finds it installed.
var embedded embed.FS
