package mirror

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// contentRange reads "bytes 5-9/10" (RFC 9110, 14.4); total is -1 for "*".
func contentRange(s string) (start, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, all, both := strings.Cut(s, "/")
	first, _, dash := strings.Cut(span, "-")
	if !ok || !both || !dash {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil || start < 0 {
		return 0, 0, false
	}
	if all == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(all, 10, 64)
	return start, total, err == nil && total > start
}

// writerAt writes a file from a place on.
type writerAt struct {
	f  *os.File
	at int64
}

func (w *writerAt) Write(b []byte) (int, error) {
	n, err := w.f.WriteAt(b, w.at)
	w.at += int64(n)
	return n, err
}

// watchdog ends what reads nothing for too long.
type watchdog struct {
	r        io.Reader
	patience time.Duration
	timer    *time.Timer
}

func watch(r io.Reader, patience time.Duration, end func()) *watchdog {
	return &watchdog{r, patience, time.AfterFunc(patience, end)}
}

func (w *watchdog) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.timer.Reset(w.patience)
	}
	return n, err
}
