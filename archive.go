package berth

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
)

// Save writes images to w as one archive, which is a docker archive and, with its
// index.json, the tar of an OCI image layout: [Engine.Load], docker and OCI tools read it.
// References that share layers share them there. Digests stay as they are.
//
// Errors: [ErrNotFound]; what w returns.
func (e *Engine) Save(ctx context.Context, w io.Writer, refs ...string) error {
	subject := strings.Join(refs, " ")
	if len(refs) == 0 {
		return &Error{Op: "save", Kind: ErrInvalid, Reason: "invalid argument: no image is named"}
	}
	for _, ref := range refs {
		if _, err := e.image(ctx, "save", ref, ""); err != nil {
			return err // dockerd would say so in the middle of the archive
		}
	}
	r, err := e.client.ImageSave(ctx, refs)
	if err != nil {
		return wrap(ctx, "save", subject, err)
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return wrap(ctx, "save", subject, err)
}

// SaveDir writes images to a new or empty directory as an OCI image layout. What is not
// complete it removes.
//
// Errors: [ErrNotFound], [ErrNoSpace], [ErrInvalid] for a directory that is not empty.
func (e *Engine) SaveDir(ctx context.Context, dir string, refs ...string) (err error) {
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return wrap(ctx, "save to", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return wrap(ctx, "save to", dir, err)
	}
	defer root.Close()
	if list, err := fs.ReadDir(root.FS(), "."); err != nil || len(list) > 0 {
		return errors.Join(err, &Error{Op: "save to", Subject: dir, Kind: ErrInvalid, Reason: "invalid argument: the directory is not empty"})
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(e.Save(ctx, w, refs...)) }()
	err = unpack(root, r)
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if err == nil {
		return nil
	}
	err = errors.Join(wrap(ctx, "save to", dir, err), empty(root))
	if missing != nil {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// empty removes all that is in a directory.
func empty(root *os.Root) error {
	list, err := fs.ReadDir(root.FS(), ".")
	for _, entry := range list {
		err = errors.Join(err, root.RemoveAll(entry.Name()))
	}
	return err
}

// unpack writes the files of an archive below root, and nowhere else.
func unpack(root *os.Root, r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // so that the writer ends well
			return err
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			if err = root.MkdirAll(path.Dir(name), 0o755); err == nil {
				err = unpackFile(root, name, t)
			}
		default:
			err = fmt.Errorf("save: the archive holds %s, which is neither file nor directory", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Load takes images from an archive of [Engine.Save], docker save, or an OCI image layout,
// compressed or not, and returns them. Should ctx end while r blocks, r is left behind with
// a goroutine.
//
// Errors: [ErrInvalid] for what is no such archive, [ErrNoSpace].
func (e *Engine) Load(ctx context.Context, r io.Reader, opts ...TransferOption) ([]Image, error) {
	t := newTransfer(opts)
	platform, err := parsePlatform("load", t.platform)
	if err != nil {
		return nil, err
	}
	var o []client.ImageLoadOption
	if platform != nil {
		o = append(o, client.ImageLoadWithPlatforms(*platform))
	}
	body, release := letGo(ctx, r)
	defer release()
	result, err := e.client.ImageLoad(ctx, body, o...)
	if err != nil {
		return nil, wrapLoad(ctx, err)
	}
	defer result.Close()
	tell, done := t.listener()
	defer done()
	var refs []string
	err = consume(decode(result), func(m jsonstream.Message) {
		tell(progressOf(m))
		if _, ref, ok := strings.Cut(strings.TrimSpace(m.Stream), "Loaded image: "); ok {
			refs = append(refs, ref)
		} else if _, id, ok := strings.Cut(strings.TrimSpace(m.Stream), "Loaded image ID: "); ok {
			refs = append(refs, id)
		}
	})
	if err != nil {
		return nil, wrapLoad(ctx, err)
	}
	if len(refs) == 0 {
		return nil, wrapLoad(ctx, errors.New("unrecognized image format"))
	}
	return e.describe(ctx, "load", refs)
}

// wrapLoad knows how dockerd says that what it was given is no archive of images.
func wrapLoad(ctx context.Context, err error) error {
	text := strings.ToLower(err.Error())
	for _, w := range []string{"unrecognized image format", "unexpected eof", "invalid tar header"} {
		if strings.Contains(text, w) && ctx.Err() == nil {
			return &Error{Op: "load", Kind: ErrInvalid, Reason: err.Error() + "; give an archive of docker save or of an OCI layout", Err: err}
		}
	}
	return wrap(ctx, "load", "", err)
}

func (e *Engine) describe(ctx context.Context, op string, refs []string) ([]Image, error) {
	out := make([]Image, 0, len(refs))
	for _, ref := range refs {
		img, err := e.image(ctx, op, ref, "")
		if err != nil {
			return out, err
		}
		out = append(out, img)
	}
	return out, nil
}

// LoadDir is [Engine.Load] of a directory that holds an OCI image layout.
//
// Errors: those of Load; [ErrNotFound] when there is no such directory.
func (e *Engine) LoadDir(ctx context.Context, dir string, opts ...TransferOption) ([]Image, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Op: "load", Subject: dir, Kind: ErrNotFound, Err: err}
	}
	if err != nil {
		return nil, wrap(ctx, "load", dir, err)
	}
	defer root.Close()
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		w.CloseWithError(errors.Join(t.AddFS(root.FS()), t.Close()))
	}()
	defer r.Close()
	return e.Load(ctx, r, opts...)
}

// Import makes an image of one layer from a tar archive of a root file system, compressed
// or not. changes are Dockerfile instructions for its configuration, such as "CMD [\"sh\"]".
// Should ctx end while r blocks, r is left behind with a goroutine.
//
// Errors: [ErrInvalidReference], [ErrInvalid] for a change that cannot be made, [ErrNoSpace].
func (e *Engine) Import(ctx context.Context, r io.Reader, ref string, changes ...string) (Image, error) {
	named, err := parseReference("import", ref)
	if err != nil {
		return Image{}, err
	}
	body, release := letGo(ctx, r)
	defer release()
	source := client.ImageImportSource{Source: body, SourceName: "-"}
	result, err := e.client.ImageImport(ctx, source, named.String(), client.ImageImportOptions{Changes: changes})
	if err != nil {
		return Image{}, wrap(ctx, "import", ref, err)
	}
	defer result.Close()
	if err := consume(decode(result), func(jsonstream.Message) {}); err != nil {
		return Image{}, wrap(ctx, "import", ref, err)
	}
	return e.image(ctx, "import", named.String(), "")
}

// decode reads the messages of a response.
func decode(r io.Reader) messages {
	return func(yield func(jsonstream.Message, error) bool) {
		d := json.NewDecoder(r)
		for {
			var m jsonstream.Message
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// letGo is r for what would wait for its Read to return when ctx has ended: HTTP requests
// (net/http.Transport waits for the body, which it also closes), and commands.
func letGo(ctx context.Context, r io.Reader) (body io.Reader, release func()) {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()) })
	return pr, func() {
		stop()
		pr.Close()
	}
}
