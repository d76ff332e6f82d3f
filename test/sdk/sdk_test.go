// Package sdk tests package berth with real engines and real registries.
package sdk

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/berth-dev/berth"
)

func TestStartUseClose(t *testing.T) {
	e, err := berth.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Error(err)
	}
	if s, err := e.Stats(t.Context()); err != nil || s.Memory == 0 || s.PIDs == 0 {
		t.Errorf("stats: %+v, %v", s, err)
	}
	logs, err := e.Logs(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(logs)
	if err != nil || !strings.Contains(string(text), "level=") {
		t.Errorf("logs: %q, %v", text, err)
	}
	logs.Close()
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	for event := range e.Events(t.Context()) {
		if !event.Ended {
			t.Error(event)
		}
	}
	if err := e.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
