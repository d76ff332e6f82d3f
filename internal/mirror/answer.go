package mirror

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

// answer notes what a client gets.
type answer struct {
	http.ResponseWriter
	status int
	sent   int64
	begun  bool
	failed error // why content could not be read to its end; nil when only the client has gone
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if !a.begun {
		a.status, a.begun = status, true
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.sent += int64(n)
	return n, err
}

var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

// ReadFrom lets the kernel move a file to the connection (sendfile(2)); what is still being
// fetched goes through a buffer.
func (a *answer) ReadFrom(from io.Reader) (n int64, err error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	source := &noted{r: from}
	if limited, ok := from.(*io.LimitedReader); ok {
		if b, ok := limited.R.(*Blob); ok {
			limited.R = b.File // what the kernel can read from
		}
		if _, ok := limited.R.(*os.File); ok {
			n, err = io.Copy(a.ResponseWriter, limited)
			a.sent += n
			return n, err
		}
	}
	buf := buffers.Get().(*[chunk]byte)
	defer buffers.Put(buf)
	n, err = io.CopyBuffer(struct{ io.Writer }{a.ResponseWriter}, source, buf[:])
	a.sent += n
	if source.err != nil {
		a.failed = source.err
	}
	return n, err
}

// noted remembers why reading failed.
type noted struct {
	r   io.Reader
	err error
}

func (n *noted) Read(b []byte) (int, error) {
	got, err := n.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return got, err
}
