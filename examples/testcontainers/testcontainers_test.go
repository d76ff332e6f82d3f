// Package testcontainers shows testcontainers-go with an engine of berth: the engine's
// environment is all that it needs.
//
//	sudo -E go test ./testcontainers
//
// The engine ends with the test, and everything with it, so that testcontainers' own
// reaper is not needed.
package testcontainers

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/berth-dev/berth/berthtest"
)

func TestWeb(t *testing.T) {
	e := berthtest.New(t)
	for _, variable := range append(e.Env(), "TESTCONTAINERS_RYUK_DISABLED=true") {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	berthtest.Image(t, e, "web:1",
		berthtest.WithFile("/www/index.html", []byte("hello")),
		berthtest.WithCommand("httpd", "-f", "-p", "80", "-h", "/www"))
	web, err := testcontainers.Run(t.Context(), "web:1",
		testcontainers.WithExposedPorts("80/tcp"), testcontainers.WithWaitStrategy(wait.ForHTTP("/").WithPort("80/tcp")))
	testcontainers.CleanupContainer(t, web)
	if err != nil {
		t.Fatal(err)
	}
	address, err := web.Endpoint(t.Context(), "http")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
		t.Errorf("got %q", body)
	}
}
