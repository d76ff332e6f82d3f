package cli

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/berth-dev/berth/internal/command"
)

// progress returns what shows how far the payload's extraction is, in bytes: a bar on a
// terminal, nil (nothing at all) elsewhere.
func (a *app) progress() func(done, total int64) {
	return a.transferProgress("unpacking the engine (first use)")
}

// transferProgress is progress with a title of its own.
func (a *app) transferProgress(title string) func(done, total int64) {
	if !command.IsTerminal(a.Err) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	b := &bar{out: a.Err, title: title}
	return b.show
}

// bar appears with the first report and goes away with the last.
type bar struct {
	mu       sync.Mutex
	out      io.Writer
	title    string
	progress *mpb.Progress
	bar      *mpb.Bar
}

func (b *bar) show(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar == nil && done < total {
		b.progress = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40))
		b.bar = b.progress.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("berth: "+b.title+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte("% .0f / % .0f")))
	}
	if b.bar == nil {
		return
	}
	b.bar.SetCurrent(done)
	if done >= total {
		b.progress.Wait()
		b.bar, b.progress = nil, nil
	}
}
