package snapshot

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/moby/moby/client"

	sdk "github.com/berth-dev/berth"
	"github.com/berth-dev/berth/berthtest"
	"github.com/berth-dev/berth/test/leak"
)

// Programs and their tests begin with a snapshot as the command line does.
func TestFromGo(t *testing.T) {
	leak.Guard(t, scope)
	create(t, "tmpl")
	t.Setenv(sdk.EnvBinary, berthProgram)
	before := hash(t, store)
	t.Run("berth", func(t *testing.T) {
		e, err := sdk.Start(t.Context(), sdk.WithSnapshot("tmpl@1"), sdk.WithoutVolumes(), sdk.WithDisk(256<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		inspect(t, e, 0)
		if _, err := sdk.Start(t.Context(), sdk.WithSnapshot("tmpl@9")); !errors.Is(err, sdk.ErrNotFound) {
			t.Errorf("a version that is not there: %v", err)
		}
	})
	t.Run("berthtest", func(t *testing.T) {
		inspect(t, berthtest.New(t, sdk.WithSnapshot("tmpl")), 1)
	})
	same(t, before, hash(t, store))
}

// inspect looks for the template's image, and for so many volumes.
func inspect(t *testing.T, e *sdk.Engine, volumes int) {
	t.Helper()
	var out bytes.Buffer
	if _, err := e.Client().ImageInspect(t.Context(), "built:1", client.ImageInspectWithRawResponse(&out)); err != nil {
		t.Error(err)
	}
	list, err := e.Client().VolumeList(t.Context(), client.VolumeListOptions{})
	if err != nil || len(list.Items) != volumes {
		t.Errorf("%d volumes, want %d: %v", len(list.Items), volumes, err)
	}
}
