package manager

import (
	"os"
	"path/filepath"
)

// The bundled docker finds buildx and compose beside itself (../libexec relative to
// the program), so that it needs neither the user's configuration nor files in the
// host's /usr. The user's own plugins still come first.
func init() {
	if exe, err := os.Executable(); err == nil {
		bundled := filepath.Join(filepath.Dir(exe), "..", "libexec", "docker", "cli-plugins")
		defaultSystemPluginDirs = append([]string{bundled}, defaultSystemPluginDirs...)
	}
}
