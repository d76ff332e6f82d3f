package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/snapshot"
)

func TestCheckVersion(t *testing.T) {
	for made, ok := range map[string]bool{"29.8.1": true, "28.0.0": true, "29.9.9": true, "": true, "30.0.0": false, "100.1": false} {
		err := checkVersion(&snapshot.Manifest{Name: "ci", Version: 3, Engine: made}, "29.8.1")
		if (err == nil) != ok || err != nil && (!errors.Is(err, snapshot.ErrUnfit) || !strings.Contains(err.Error(), "ci@3")) {
			t.Errorf("%q: %v", made, err)
		}
	}
}
