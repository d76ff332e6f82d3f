//go:build nopayload

package image

import "embed"

// The image's own berth cannot make images.
var embedded embed.FS
