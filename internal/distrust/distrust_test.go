package distrust

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/berth-dev/berth/internal/certsd"
)

func TestSuspect(t *testing.T) {
	for line, want := range map[string]string{
		`level=error msg="Handler" error-response="failed to do request: Head \"https://registry.corp.test:35351/v2/team/app/manifests/1\": tls: failed to verify certificate: x509: certificate signed by unknown authority"`: "registry.corp.test:35351",
		`level=error error="unexpected status from HEAD request to http://127.0.0.1:19519/v2/team/app/manifests/1?ns=registry.corp.test%3A35351: 502 Bad Gateway"`:                                                             "registry.corp.test:35351",
		`level=error error="unexpected status from HEAD request to http://127.0.0.1:19519/v2/team/app/manifests/1?ns=ghcr.io: 404 Not Found"`:                                                                                  "",
		`level=info msg="trying next host" error="Head \"https://a/v2/x\": tls: bad"`:                                                                                                                                          "",
		`level=error msg="something else"`: "",
	} {
		if got := suspect([]byte(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// FuzzSuspect: what a log has in it is a registry's words in part, and is taken for a name to
// connect to.
func FuzzSuspect(f *testing.F) {
	f.Add(`level=error error="Head \"https://r.test:5000/v2/a/manifests/1\": tls: failed"`)
	f.Add(`level=error error="from HEAD request to http://127.0.0.1:19519/v2/a/manifests/1?ns=r.test%3A5000: 502 Bad Gateway"`)
	f.Fuzz(func(t *testing.T, line string) {
		if host := suspect([]byte(line)); host != "" && certsd.CheckRegistry(host) != nil {
			t.Errorf("%q is no registry", host)
		}
	})
}

// TestTee: everything is passed on, and lines are looked at whole, however they come.
func TestTee(t *testing.T) {
	var w Watch
	var to strings.Builder
	log := w.Tee(&to)
	text := `level=error error="Head \"https://r.test/v2/a/manifests/1\": tls: bad"` + "\n"
	var asked []string
	w.Roots = func(host string) []string { asked = append(asked, host); return []string{"no certificate"} }
	w.Log = slog.New(slog.DiscardHandler)
	for part := range slices.Chunk([]byte(strings.Repeat("x", 2*maxLine)+"\n"+text), 7) {
		if _, err := log.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(log, "the rest")
	w.Wait()
	if !slices.Equal(asked, []string{"r.test"}) {
		t.Errorf("looked at %q", asked)
	}
	if to.String() != strings.Repeat("x", 2*maxLine)+"\n"+text+"the rest" {
		t.Error("not all was passed on")
	}
}
