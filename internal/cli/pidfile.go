package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/engine"
)

func registerPIDFile(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "pidfile", "", "`FILE` to write the process id of the engine's monitor to, for a service manager")
}

// withPIDFile starts an engine and writes its monitor's process id to a file; without a path
// it only starts. The file is whole when it appears and replaces nothing but a file. Whether it
// can be written is found out before the engine is started.
func withPIDFile(path string, start func() (engine.Info, error)) (engine.Info, error) {
	if path == "" {
		return start()
	}
	if old, err := os.Lstat(path); err == nil && !old.Mode().IsRegular() {
		return engine.Info{}, fmt.Errorf("--pidfile %s: not a regular file, so it is not replaced; name another path", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return engine.Info{}, fmt.Errorf("--pidfile: %w", err)
	}
	defer os.Remove(f.Name()) // finds nothing after the rename
	defer f.Close()
	info, err := start()
	if err != nil {
		return info, err
	}
	_, err = f.WriteString(strconv.Itoa(info.Monitor.PID) + "\n")
	if err = errors.Join(err, f.Chmod(0o644), os.Rename(f.Name(), path)); err != nil {
		return info, fmt.Errorf("--pidfile: %w; the engine %s runs: see `berth rm`", err, info.Name)
	}
	return info, nil
}
