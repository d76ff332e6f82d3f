package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
)

// maxLog bounds an engine's log, in bytes: what an engine says must not fill the host's
// memory. A log that reaches it goes on as a new file; one older file is kept.
const maxLog = 8 << 20

// logPump copies what an engine's processes write to the log file.
type logPump struct {
	mu       sync.Mutex
	last     string         // the last line that reports an error
	lines    []func([]byte) // see each line
	finished chan struct{}
}

func startLogPump(console *os.File, path string, owner Owner, from *os.File, note func(string), lines ...func([]byte)) (*logPump, error) {
	if console != nil {
		p := &logPump{lines: lines, finished: make(chan struct{})}
		go func() {
			defer close(p.finished)
			defer from.Close()
			p.copy(console, from, note)
		}()
		return p, nil
	}
	f, err := openLog(path, owner)
	if err != nil {
		from.Close()
		return nil, fmt.Errorf("make the engine's log: %w", err)
	}
	p := &logPump{lines: lines, finished: make(chan struct{})}
	go func() {
		defer close(p.finished)
		defer from.Close()
		w := &rotated{f: f, path: path, owner: owner}
		defer w.close()
		p.copy(w, from, note)
	}()
	return p, nil
}

func openLog(path string, owner Owner) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chown(owner.UID, owner.GID); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// copy passes lines on. A log that cannot be written must not stop the engine.
func (p *logPump) copy(w io.Writer, from io.Reader, note func(string)) {
	r := bufio.NewReaderSize(from, 16<<10)
	for {
		line, err := r.ReadSlice('\n')
		_, _ = w.Write(line)
		p.look(line, note)
		for _, f := range p.lines {
			f(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

var (
	// dockerd's text for a bind mount whose source does not exist and cannot be made.
	unshared = regexp.MustCompile(`creating mount source path '([^']+)'.*read-only file system`)
	message  = regexp.MustCompile(`(?:error|msg)="((?:[^"\\]|\\.)*)"`)
)

func (p *logPump) look(line []byte, note func(string)) {
	if m := unshared.FindSubmatch(line); m != nil {
		note(fmt.Sprintf("%s is not shared with the engine; share it with --share %s", m[1], m[1]))
	}
	if !bytes.Contains(line, []byte("level=error")) && !bytes.Contains(line, []byte("level=fatal")) &&
		bytes.HasPrefix(line, []byte("time=")) {
		return
	}
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = string(line)
	if m := message.FindSubmatch(line); m != nil {
		p.last = string(m[1])
	}
}

func (p *logPump) wait() { <-p.finished }

func (p *logPump) lastError() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == "" {
		return "it gave no reason"
	}
	return p.last
}

// rotated is a log file that begins anew when it is full.
type rotated struct {
	f     *os.File
	path  string
	owner Owner
	size  int
}

func (w *rotated) Write(b []byte) (int, error) {
	if w.size += len(b); w.size > maxLog {
		w.close()
		if err := os.Rename(w.path, w.path+".1"); err != nil {
			return 0, err
		}
		f, err := openLog(w.path, w.owner)
		if err != nil {
			return 0, err
		}
		w.f, w.size = f, len(b)
	}
	return w.f.Write(b)
}

func (w *rotated) close() { w.f.Close() }
