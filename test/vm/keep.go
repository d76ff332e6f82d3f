package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// keepOlder takes over what the last results say of tests that this run did not select.
func (r *results) keepOlder(path string) error {
	older, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer older.Close()
	to := json.NewEncoder(r.all)
	err = decode(older, func(e event) error {
		whole := event{Package: e.Package}
		whole.Test, _, _ = strings.Cut(e.Test, "/")
		if r.result[whole.name()] != "" {
			return nil
		}
		return to.Encode(e)
	})
	if err != nil {
		say("%s: %v", path, err)
	}
	return nil
}
