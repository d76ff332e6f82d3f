package main

import (
	"context"
	"path/filepath"
	"strings"
)

// definitions are what CI systems define in a cluster, as their modules have it, for the tests'
// API to check what `berth kube overlay` writes.
var definitions = []*part{
	definition("tekton-task.yaml", module{dir: "tekton", upstream: "github.com/tektoncd/pipeline"}, "config/300-crds/300-task.yaml"),
	definition("arc-runnerset.yaml", module{dir: "arc", upstream: "github.com/actions/actions-runner-controller"},
		"charts/gha-runner-scale-set-controller/crds/actions.github.com_autoscalingrunnersets.yaml"),
}

// definition is a file of a module.
func definition(name string, m module, path string) *part {
	return &part{
		name: m.dir, programs: []string{name}, inputs: m.inputs,
		build: func(ctx context.Context, bin string) error {
			if _, err := m.output(ctx, "mod", "download", m.upstream); err != nil {
				return err
			}
			dir, err := m.output(ctx, "list", "-m", "-f", "{{.Dir}}", m.upstream)
			if err != nil {
				return err
			}
			return replace(filepath.Join(bin, name), filepath.Join(strings.TrimSpace(string(dir)), path))
		},
	}
}
