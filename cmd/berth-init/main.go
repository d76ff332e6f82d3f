// Command berth-init is PID 1 inside an engine. It is a program of its own because it is
// resident in every engine: a fiftieth of berth's size, and it starts faster.
package main

import (
	"os"

	"github.com/berth-dev/berth/internal/pid1"
)

func main() { os.Exit(pid1.Main(os.Args)) }
