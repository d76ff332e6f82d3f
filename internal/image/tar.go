package image

import (
	"archive/tar"
	"time"
)

// layerWriter writes a layer in which nothing depends on the machine: all is root's and as
// old as the image.
type layerWriter struct {
	tar     *tar.Writer
	created time.Time
	count   func(n int)
}

func (w *layerWriter) header(h *tar.Header) error {
	h.ModTime, h.Format = w.created, tar.FormatPAX
	return w.tar.WriteHeader(h)
}

func (w *layerWriter) write(h *tar.Header, data []byte) error {
	if err := w.header(h); err != nil {
		return err
	}
	_, err := w.tar.Write(data)
	return err
}

// counted tells the progress of what is written.
type counted struct{ w *layerWriter }

func (c counted) Write(b []byte) (int, error) {
	n, err := c.w.tar.Write(b)
	c.w.count(n)
	return n, err
}
