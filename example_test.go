package berth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"testing"

	"github.com/berth-dev/berth"
	"github.com/berth-dev/berth/berthtest"
)

// An engine for the time of a function.
func ExampleStart() {
	ctx := context.Background()
	e, err := berth.Start(ctx, berth.WithMemory(1<<30))
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)

	images, err := e.Images(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(images), "images in a new engine")
	// prints: 0 images in a new engine
}

// Any program that speaks to Docker finds the engine by its environment.
func ExampleEngine_Env() {
	ctx := context.Background()
	e, err := berth.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)

	cmd := exec.Command("sh", "-c", `test -S "${DOCKER_HOST#unix://}" && echo there`)
	cmd.Env = append(os.Environ(), e.Env()...)
	out, err := cmd.Output()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(out))
	// prints: there
}

// Errors can be told apart.
func ExampleEngine_Pull() {
	ctx := context.Background()
	e, err := berth.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)

	_, err = e.Pull(ctx, "127.0.0.1:1/app:1", berth.WithTries(1))
	switch {
	case errors.Is(err, berth.ErrNotFound):
		fmt.Println("no such image")
	case errors.Is(err, berth.ErrUnavailable):
		fmt.Println("the registry does not answer")
	}
	// prints: the registry does not answer
}

// An image goes from one engine to another.
func ExampleEngine_Save() {
	ctx := context.Background()
	from, err := berth.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer from.Close(ctx)
	to, err := berth.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer to.Close(ctx)

	// An image without anything in it, for the lack of a registry.
	if _, err := from.Import(ctx, bytes.NewReader(make([]byte, 1024)), "empty:1"); err != nil {
		log.Fatal(err)
	}
	var archive bytes.Buffer
	if err := from.Save(ctx, &archive, "empty:1"); err != nil {
		log.Fatal(err)
	}
	images, err := to.Load(ctx, &archive)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(images[0].Tags)
	// prints: [empty:1]
}

// TestExamples runs them; go test itself would fail where engines cannot be had.
func TestExamples(t *testing.T) {
	berthtest.New(t).Close(t.Context()) // skips where they cannot
	for _, example := range []struct {
		name, want string
		f          func()
	}{
		{"Start", "0 images in a new engine\n", ExampleStart},
		{"Env", "there\n", ExampleEngine_Env},
		{"Pull", "the registry does not answer\n", ExampleEngine_Pull},
		{"Save", "[empty:1]\n", ExampleEngine_Save},
	} {
		if got := printed(t, example.f); got != example.want {
			t.Errorf("%s printed %q, want %q", example.name, got, example.want)
		}
	}
}

func printed(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	f()
	w.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		t.Error(err)
	}
	return out.String()
}
