package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lineHandler writes a log record as one line that begins with "berth:".
type lineHandler struct {
	mu    sync.Mutex
	out   io.Writer
	level slog.Level
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	return h.write(r, nil)
}

func (h *lineHandler) write(r slog.Record, more []slog.Attr) error {
	var b strings.Builder
	b.WriteString("berth: ")
	if r.Level != slog.LevelInfo {
		b.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	b.WriteString(oneLine(r.Message))
	for _, attr := range more {
		fmt.Fprintf(&b, " %s=%s", attr.Key, oneLine(attr.Value.String()))
	}
	r.Attrs(func(attr slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%s", attr.Key, oneLine(attr.Value.String()))
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String()+"\n")
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineWith{lineHandler: h, attrs: attrs}
}

func (h *lineHandler) WithGroup(string) slog.Handler { return h }

// lineWith is a lineHandler with attributes that every record gets.
type lineWith struct {
	*lineHandler
	attrs []slog.Attr
}

func (h *lineWith) Handle(_ context.Context, r slog.Record) error { return h.write(r, h.attrs) }

func (h *lineWith) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineWith{h.lineHandler, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *lineWith) WithGroup(string) slog.Handler { return h }
