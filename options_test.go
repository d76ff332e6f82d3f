package berth

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// TestOptions: every setting that a berth process takes has an option.
func TestOptions(t *testing.T) {
	o := newOptions([]Option{
		WithName("x"), Detached(), WithMemory(1), WithCPUs(1), WithPIDs(1), WithDisk(1), WithNetwork("none"), WithMTU(1),
		WithHost("a", "b"), WithShare("/a"), WithReadOnlyShare("/b"), WithShareAs("root"), WithUser(1, 2), WithRootful(),
		WithRuntime("crun"), WithCgroupParent("own"), WithRegistryCA("a", nil), WithCA(nil), WithSharedCA(), WithMirrorOnly(), WithInsecureRegistry("a"),
		WithCertsDir("/c"), WithMirror("off"), WithSnapshot("s"), WithoutVolumes(), WithDaemonConfig([]byte("{}")),
	})
	settings := reflect.ValueOf(o.settings)
	for i := range settings.NumField() {
		if settings.Field(i).IsZero() {
			t.Errorf("no option sets %s", settings.Type().Field(i).Name)
		}
	}
	o = newOptions([]Option{WithBinary("b"), WithLog(slog.Default()), WithUnpackProgress(func(int64, int64) {})})
	if o.binary != "b" || o.log != slog.Default() || o.progress == nil {
		t.Errorf("%+v", o)
	}
}

// What a build cannot heed is refused before anything is begun, with what to do.
func TestBuildRefusesWhatItWouldIgnore(t *testing.T) {
	for _, opt := range []BuildOption{
		WithTransfer(WithCredentials("me", "secret")),
		WithTransfer(WithKeychain(oneKey{})),
		WithContextTar(strings.NewReader("")),
	} {
		_, err := new(Engine).Build(t.Context(), ".", opt)
		if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %v", err, ErrInvalid)
		}
	}
}
