package main

import (
	"fmt"
	"slices"
	"time"
)

// figure is one measured quantity.
type figure struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"` // ms, MB, MiB, x
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
	AtMost float64 `json:"at_most,omitempty"`  // target; 0 for none
	Least  float64 `json:"at_least,omitempty"` // target; 0 for none
	Pass   *bool   `json:"pass,omitempty"`
}

func summarize(name, unit string, values []float64) figure {
	f := figure{Name: name, Unit: unit, N: len(values)}
	if len(values) == 0 {
		return f
	}
	sorted := slices.Sorted(slices.Values(values))
	f.Min, f.Max = sorted[0], sorted[len(sorted)-1]
	f.Median = sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		f.Median = (sorted[len(sorted)/2-1] + f.Median) / 2
	}
	return f
}

// atMost and atLeast set the target and judge the median by it.
func (f figure) atMost(limit float64) figure {
	ok := f.N > 0 && f.Median <= limit
	f.AtMost, f.Pass = limit, &ok
	return f
}

func (f figure) atLeast(limit float64) figure {
	ok := f.N > 0 && f.Median >= limit
	f.Least, f.Pass = limit, &ok
	return f
}

func (f figure) target() string {
	switch {
	case f.AtMost != 0:
		return fmt.Sprintf("<= %g", f.AtMost)
	case f.Least != 0:
		return fmt.Sprintf(">= %g", f.Least)
	}
	return ""
}

func (f figure) verdict() string {
	switch {
	case f.Pass == nil:
		return ""
	case *f.Pass:
		return "pass"
	}
	return "MISS"
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }
