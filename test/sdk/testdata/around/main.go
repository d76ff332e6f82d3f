// Command around uses the engine of the `berth run` around it: it loads the archive that it
// is given, and prints what the image's command prints, and what its port answers.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/berth-dev/berth"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, archive string) error {
	e, err := berth.FromEnv()
	if err != nil {
		return err
	}
	defer e.Close(ctx)
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	images, err := e.Load(ctx, f)
	if err != nil {
		return err
	}
	out, err := e.Output(ctx, images[0].ID, []string{"echo", "from", e.ID()})
	if err != nil {
		return err
	}
	fmt.Printf("%s", out.Stdout)
	c, err := e.Run(ctx, images[0].ID, []string{"sh", "-c", "echo served >/page; exec httpd -f -p 80 -h /"}, berth.WithPort("80"))
	if err != nil {
		return err
	}
	defer c.Remove(ctx)
	if err := c.WaitFor(ctx, berth.ForHTTP("80", "/page")); err != nil {
		return err
	}
	address, err := c.Address(ctx, "80")
	if err != nil {
		return err
	}
	resp, err := http.Get("http://" + address + "/page")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
