package main

import (
	"fmt"
	"time"

	"github.com/berth-dev/berth/hack/task"
)

// progress says what takes its time.
const progress = task.Progress("payload")

func elapsed(start time.Time) string { return time.Since(start).Round(100 * time.Millisecond).String() }

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
