package cli

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/kube"
)

// A file of values is somebody's; whatever is in it, it is read or refused.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"name: x\n", "env: {A: 1}", "command: [a, b]", "- a", "name: &a x\nnamespace: *a", "? {a: b}\n: c", "pids: many", "registry-ca:\n  a: [b]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		flags := &kubeFlags{Options: kube.Defaults()}
		cmd := &cobra.Command{Use: "job"}
		flags.register(cmd)
		_ = setValues(cmd.Flags(), "values.yaml", data, &flags.Command)
	})
}
