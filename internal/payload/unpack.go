package payload

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// maxWindow bounds the memory that an archive can make the decoder use, bytes.
const maxWindow = 64 << 20

// unpackAll writes every component's files below dir, several components at once.
// All paths are opened through an os.Root, so that nothing can lead out of dir.
func unpackAll(ctx context.Context, fsys fs.FS, m *Manifest, dir string, progress func(done, total int64)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := makeDirs(root, m); err != nil {
		return err
	}
	count := counter{total: m.unpacked(), report: progress}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	// The largest first: it decides how long the whole takes.
	components := slices.SortedFunc(slices.Values(m.Components), func(a, b Component) int { return cmp.Compare(b.Size, a.Size) })
	for _, c := range components {
		group.Go(func() error {
			u := unpacker{root: root, count: &count, files: make(map[string]File, len(c.Files))}
			for _, f := range c.Files {
				u.files[f.Path] = f
			}
			return u.archive(ctx, fsys, c.Archive)
		})
	}
	return group.Wait()
}

// makeDirs makes the tree's directories with mode 0755, whatever the umask is.
func makeDirs(root *os.Root, m *Manifest) error {
	for dir := range m.dirs() {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for dir := range m.dirs() {
		if err := root.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// unpacker writes one component's archive.
type unpacker struct {
	root  *os.Root
	files map[string]File // those still to come
	count *counter
}

func (u *unpacker) archive(ctx context.Context, fsys fs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return &CorruptError{What: name, Err: err}
	}
	defer f.Close()
	// The components are decoded in parallel; goroutines within each would only compete.
	z, err := zstd.NewReader(bufio.NewReaderSize(f, 1<<18), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return &CorruptError{What: name, Err: err}
	}
	defer z.Close()
	err = u.entries(ctx, tar.NewReader(z))
	var disk *fs.PathError
	var link *os.LinkError
	if err == nil || ctx.Err() != nil || errors.As(err, &disk) || errors.As(err, &link) {
		return err
	}
	return &CorruptError{What: name, Err: err}
}

// entries writes what the archive holds, which must be exactly what the manifest
// lists for it.
func (u *unpacker) entries(ctx context.Context, archive *tar.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		file, ok := u.files[header.Name]
		if !ok {
			return fmt.Errorf("unexpected entry %q", header.Name)
		}
		delete(u.files, header.Name)
		if err := u.entry(ctx, file, header, archive); err != nil {
			return err
		}
	}
	for name := range u.files {
		return fmt.Errorf("entry %q is missing", name)
	}
	return nil
}

func (u *unpacker) entry(ctx context.Context, file File, header *tar.Header, content io.Reader) error {
	switch {
	case header.Typeflag == tar.TypeSymlink && file.Link != "" && header.Linkname == file.Link:
		return u.root.Symlink(file.Link, file.Path)
	case header.Typeflag == tar.TypeReg && file.Link == "" && header.Size == file.Size:
		return u.regular(ctx, file, content)
	}
	return fmt.Errorf("entry %q is not as the manifest says", file.Path)
}

func (u *unpacker) regular(ctx context.Context, file File, content io.Reader) error {
	f, err := u.root.OpenFile(file.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	sink := io.MultiWriter(f, hash, u.count)
	if _, err := io.CopyBuffer(sink, readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return content.Read(p)
	}), make([]byte, 1<<18)); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != file.SHA256 {
		return fmt.Errorf("SHA-256 of %q differs", file.Path)
	}
	if err := f.Chmod(os.FileMode(file.Mode)); err != nil {
		return err
	}
	return f.Close()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// counter adds up what is written and reports it, one call at a time.
type counter struct {
	total  int64
	report func(done, total int64)

	mu   sync.Mutex
	done int64
}

func (c *counter) Write(p []byte) (int, error) {
	if c.report != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done += int64(len(p))
		c.report(c.done, c.total)
	}
	return len(p), nil
}
