package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-dev/berth/hack/task"
	"github.com/berth-dev/berth/internal/payload"
)

// initComponent is berth's own PID 1 for engines. Its sources are all over the root
// module, so it is compiled every time (the compiler has a cache) and the result is
// the key. It carries no version: a commit that does not change it must not make
// every machine extract the payload again.
func initComponent() *component {
	program := filepath.Join(workDir("berth-init"), "berth-init")
	return &component{
		name: "berth-init",
		inputs: func(ctx context.Context, w io.Writer) error {
			if _, err := os.Stat("cmd/berth-init"); errors.Is(err, fs.ErrNotExist) {
				progress.Say("%-12s left out: cmd/berth-init is not there", "berth-init")
				return nil
			}
			if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
				return err
			}
			_, err := task.Output(ctx, ".", []string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off"},
				"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", program, "./cmd/berth-init")
			if err != nil {
				return err
			}
			return hashFile(w, program)
		},
		build: func(ctx context.Context, _ string) (*contents, error) {
			data, err := os.ReadFile(program)
			if errors.Is(err, fs.ErrNotExist) {
				return &contents{}, nil
			}
			if err != nil {
				return nil, err
			}
			notices, err := (&goProgram{name: "berth-init"}).notices(ctx, ".", []string{program})
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256(data)
			return &contents{
				packages: []payload.Package{{
					Name: "berth-init", Version: hex.EncodeToString(sum[:6]), Licence: "Apache-2.0",
					PURL: "pkg:golang/github.com/berth-dev/berth#cmd/berth-init",
				}},
				entries: []entry{{path: sbin + "berth-init", mode: 0o755, data: data}, notices},
			}, nil
		},
	}
}
