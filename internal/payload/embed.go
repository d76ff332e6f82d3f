//go:build !nopayload

package payload

import "embed"

//go:embed files
var embedded embed.FS
