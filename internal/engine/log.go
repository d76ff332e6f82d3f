package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/berth-dev/berth/internal/lazyregexp"
)

// maxLog bounds an engine's log, in bytes: what an engine says must not fill the host's
// memory. A log that reaches it goes on as a new file; one older file is kept.
const maxLog = 8 << 20

// logPump copies what an engine's processes write to the log file.
type logPump struct {
	to       io.WriteCloser
	own      bool           // the log is the engine's own, and no container's
	lines    []func([]byte) // see each line
	marks    *os.File       // writes to what is copied, for [logPump.catchUp]
	caughtUp chan struct{}  // closed at the mark
	finished chan struct{}

	mu   sync.Mutex // guards what follows, and writing
	last string     // the last line that reports an error
}

// newLogPump opens the log: the file at path, or a console that is somebody else's.
func newLogPump(console *os.File, path string, owner Owner) (*logPump, error) {
	p := &logPump{caughtUp: make(chan struct{}), finished: make(chan struct{})}
	if console != nil {
		p.to = unclosed{console}
		return p, nil
	}
	f, err := openRotated(path, owner)
	if err != nil {
		return nil, fmt.Errorf("make the engine's log: %w", err)
	}
	p.to, p.own = f, true
	return p, nil
}

// unclosed is a file that stays open.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// start copies until the end of from. It closes from; to, its other end, is closed by wait.
func (p *logPump) start(from, to *os.File, note func(string), lines ...func([]byte)) {
	p.marks, p.lines = to, lines
	go func() {
		defer close(p.finished)
		defer from.Close()
		p.copy(from, note)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.to.Close()
	}()
}

func (p *logPump) write(line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.to.Write(line)
}

// note adds what berth itself has to say to the engine's own log: for an engine that is
// kept, nobody listens otherwise.
func (p *logPump) note(text string) {
	if p.own {
		p.write([]byte("berth: " + text + "\n"))
	}
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

// mark is a line that says how far the log had been written. It begins with the end of a line
// that may not have had one.
const mark = "\x00\n"

// catchUp returns when all has been looked at that was written before. What comes later is
// copied, and no more.
func (p *logPump) catchUp() {
	if _, err := p.marks.WriteString("\n" + mark); err != nil {
		return // nobody reads any more
	}
	select {
	case <-p.caughtUp:
	case <-p.finished:
	}
}

// copy passes lines on. A log that cannot be written must not stop the engine.
func (p *logPump) copy(from io.Reader, note func(string)) {
	r := bufio.NewReaderSize(from, 16<<10)
	var held []byte // an empty line, which may belong to a mark
	for {
		line, err := r.ReadSlice('\n')
		if string(line) == mark && !p.marked() {
			held, p.lines = nil, nil
			close(p.caughtUp)
			continue
		}
		if held != nil {
			p.write(held)
			held = nil
		}
		if string(line) == "\n" {
			held = []byte("\n")
			continue
		}
		p.write(line)
		p.look(line, note)
		for _, f := range p.lines {
			f(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (p *logPump) marked() bool {
	select {
	case <-p.caughtUp:
		return true
	default:
		return false
	}
}

var (
	// dockerd's text for a bind mount whose source does not exist and cannot be made.
	unshared = lazyregexp.New(`creating mount source path '([^']+)'.*read-only file system`)
	message  = lazyregexp.New(`(?:error|msg)="((?:[^"\\]|\\.)*)"`)
)

func (p *logPump) look(line []byte, note func(string)) {
	if m := unshared().FindSubmatch(line); m != nil {
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
	if m := message().FindSubmatch(line); m != nil {
		p.last = string(m[1])
	}
}

// wait returns when all is copied that will ever be written: the engine's processes have ended.
func (p *logPump) wait() {
	p.marks.Close()
	<-p.finished
}

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
	size  int64
}

func openRotated(path string, owner Owner) (*rotated, error) {
	f, err := openLog(path, owner)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &rotated{f: f, path: path, owner: owner, size: info.Size()}, nil
}

// Write writes nothing when a full log cannot begin anew; the next one tries again.
func (w *rotated) Write(b []byte) (int, error) {
	if w.size+int64(len(b)) > maxLog {
		if err := w.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(b)
	w.size += int64(n)
	return n, err
}

func (w *rotated) rotate() error {
	if err := ignoreNotExist(os.Rename(w.path, w.path+".1")); err != nil {
		return err
	}
	f, err := openLog(w.path, w.owner)
	if err != nil {
		return err
	}
	w.f.Close()
	w.f, w.size = f, 0
	return nil
}

// Close lets go of the file. Later writes fail.
func (w *rotated) Close() error { return w.f.Close() }
