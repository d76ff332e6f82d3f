// Package suite shows tests that each have a Docker engine of their own.
//
//	sudo -E go test ./suite
package suite

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/berthtest"
)

// Both tests publish port 8080 and name their container "web": they do not see each other.
func TestPage(t *testing.T)  { t.Parallel(); serve(t, "page") }
func TestOther(t *testing.T) { t.Parallel(); serve(t, "other") }

func serve(t *testing.T, text string) {
	e := berthtest.New(t)
	img := berthtest.Image(t, e, "web:1",
		berthtest.WithFile("/www/index.html", []byte(text)),
		berthtest.WithCommand("httpd", "-f", "-p", "80", "-h", "/www"))
	web, err := e.Run(t.Context(), img.ID, nil, berth.WithContainerName("web"), berth.WithPortAt("80", "8080"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := web.WaitFor(ctx, berth.ForHTTP("80", "/")); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: e.Dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://localhost:8080/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != text {
		t.Errorf("got %q, want %q", body, text)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	e := berthtest.New(t)
	img := berthtest.Image(t, e, "tool:1")
	out, err := e.Output(t.Context(), img.ID, []string{"sh", "-c", "echo fine"})
	if err != nil || string(out.Stdout) != "fine\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
}
