package main

import (
	"context"
	"path/filepath"
	"strings"
)

// tekton is the definition of Tekton's Task, as its module has it, for the tests' API to check
// what `berth kube overlay tekton` writes.
var tekton = &part{
	name: "tekton", programs: []string{"tekton-task.yaml"},
	inputs: tektonModule.inputs,
	build: func(ctx context.Context, bin string) error {
		if _, err := tektonModule.output(ctx, "mod", "download", tektonModule.upstream); err != nil {
			return err
		}
		dir, err := tektonModule.output(ctx, "list", "-m", "-f", "{{.Dir}}", tektonModule.upstream)
		if err != nil {
			return err
		}
		return replace(filepath.Join(bin, "tekton-task.yaml"), filepath.Join(strings.TrimSpace(string(dir)), "config/300-crds/300-task.yaml"))
	},
}

var tektonModule = module{dir: "tekton", upstream: "github.com/tektoncd/pipeline"}
