package distrust

import (
	"bytes"
	"io"
)

// maxLine bounds what is kept of a line that has not ended yet, in bytes.
const maxLine = 16 << 10

// tee passes a log on and has its lines looked at.
type tee struct {
	to    io.Writer
	watch *Watch
	rest  []byte // of a line that has not ended
}

// Tee returns a writer for dockerd's log, which passes everything on. It is for one
// goroutine.
func (w *Watch) Tee(to io.Writer) io.Writer { return &tee{to: to, watch: w} }

func (t *tee) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	t.rest = append(t.rest, p...)
	for {
		i := bytes.IndexByte(t.rest, '\n')
		if i < 0 {
			break
		}
		t.watch.Line(t.rest[:i])
		t.rest = t.rest[i+1:]
	}
	if len(t.rest) > maxLine {
		t.rest = nil
	}
	return n, err
}
