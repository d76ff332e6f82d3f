package cli

import (
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/engine"
)

// buildxDir is the engine's directory for BUILDX_CONFIG, unless the user has settings for
// builders himself: then his hold.
func buildxDir(info engine.Info, as command.Identity) string {
	config := os.Getenv("DOCKER_CONFIG")
	if config == "" {
		config = filepath.Join(as.Home, ".docker")
	}
	if _, err := os.Stat(filepath.Join(config, "buildx", "buildkitd.default.toml")); err == nil {
		return ""
	}
	return info.Buildx
}
