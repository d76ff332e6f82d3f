//go:build !nopayload

package image

import "embed"

//go:embed files
var embedded embed.FS
