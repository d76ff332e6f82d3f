package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// runc is the one that berth carries: one version in the engine and around it.
var runc = &part{
	name: "runc", programs: []string{"runc"},
	inputs: func(_ context.Context, w io.Writer) error {
		key, err := os.ReadFile(payloadRunc("key"))
		if err != nil {
			return fmt.Errorf("%w; run `make payload` first", err)
		}
		_, err = w.Write(key)
		return err
	},
	build: func(_ context.Context, bin string) error {
		return replace(filepath.Join(bin, "runc"), payloadRunc("runc"))
	},
}

func payloadRunc(name string) string { return filepath.Join(".cache/payload/runc", name) }
