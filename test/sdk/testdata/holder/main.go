// Command holder starts an engine, prints its id, and waits to be killed.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/berth-dev/berth"
)

func main() {
	e, err := berth.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(e.ID())
	<-e.Done()
}
