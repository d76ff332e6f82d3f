package pid1

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// RuntimeName is the name under which init is the OCI runtime, where it comes before runc on
// dockerd's PATH: in a container whose sysfs is read-only and belongs to another user
// namespace, the kernel lets nobody mount one that can be written to, which is what a nested
// privileged container asks for. This program makes that mount of the bundle read-only, as
// it is in every other container, and becomes runc.
const RuntimeName = "runc"

const realRuntime = "/usr/bin/runc"

// ociRuntime returns only when runc cannot be run.
func ociRuntime(args []string) int {
	if dir := bundleOf(args[1:]); dir != "" {
		if err := readOnlySysfs(filepath.Join(dir, "config.json")); err != nil {
			fmt.Fprintf(os.Stderr, "berth-init: %v\n", err)
			return 1
		}
	}
	err := unix.Exec(realRuntime, append([]string{realRuntime}, args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "berth-init: %s: %v\n", realRuntime, err)
	return 1
}

// bundleOf is the bundle that a command line of runc's makes a container of; "" for none.
func bundleOf(args []string) string {
	if !slices.Contains(args, "create") && !slices.Contains(args, "run") {
		return ""
	}
	for i, a := range args {
		for _, flag := range []string{"--bundle", "-bundle", "-b"} {
			if a == flag && i+1 < len(args) {
				return args[i+1]
			}
			if dir, ok := strings.CutPrefix(a, flag+"="); ok {
				return dir
			}
		}
	}
	return "."
}

// readOnlySysfs adds the option to the bundle's mount of sysfs. Whatever else is in the file
// stays as it is.
func readOnlySysfs(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := withReadOnlySysfs(text)
	if err != nil || changed == nil {
		return err
	}
	return os.WriteFile(path, changed, 0o600)
}

// withReadOnlySysfs returns nil where there is nothing to do.
func withReadOnlySysfs(text []byte) ([]byte, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read the bundle's config.json: %w", err)
	}
	var mounts []map[string]json.RawMessage
	if err := json.Unmarshal(config["mounts"], &mounts); err != nil && len(config["mounts"]) > 0 {
		return nil, fmt.Errorf("read the bundle's mounts: %w", err)
	}
	changed := false
	for _, m := range mounts {
		var kind string
		var options []string
		_ = json.Unmarshal(m["type"], &kind)
		_ = json.Unmarshal(m["options"], &options)
		if kind != "sysfs" || slices.Contains(options, "ro") {
			continue
		}
		options = append(slices.DeleteFunc(options, func(o string) bool { return o == "rw" }), "ro")
		m["options"], _ = json.Marshal(options)
		changed = true
	}
	if !changed {
		return nil, nil
	}
	var err error
	if config["mounts"], err = json.Marshal(mounts); err != nil {
		return nil, err
	}
	return json.Marshal(config)
}
