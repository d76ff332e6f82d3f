package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) mirrorExportVerb() *cobra.Command {
	out, dir, asJSON := "", "", false
	cmd := &cobra.Command{
		Use: "export -o PATH [IMAGE...]", Short: "Write images that the mirror has, for a site without a network",
		Long: `Write images, or all that the mirror has, as an OCI image layout: a tar archive when PATH
ends in .tar or is -, else a directory, which is added to when it is a layout already.
Everything is verified on its way. Images have to be here in full: see berth mirror prefetch.`,
		Example: `  sudo berth mirror export -o images.tar debian:12 ghcr.io/org/app:1
  sudo berth mirror export -o /media/usb/images`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, image := range args {
				if _, _, _, err := mirror.ParseImage(image); err != nil {
					return usage(cmd, "%w", err)
				}
			}
			if out == "" {
				return usage(cmd, "say where to with -o PATH: a file that ends in .tar, a directory, or - for standard output")
			}
			images, err := a.exportTo(cmd.Context(), dir, out, args)
			if err != nil || out == "-" {
				return err
			}
			return a.showCarried(images, asJSON)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "where to write: FILE.tar, a directory, or - for standard output")
	cmd.Flags().StringVar(&dir, "dir", "", "the mirror's directory (default: berth's own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object an image, one a line")
	return cmd
}

func (a *app) mirrorImportVerb() *cobra.Command {
	o, dir, asJSON := mirror.ImportOptions{}, "", false
	cmd := &cobra.Command{
		Use: "import PATH", Short: "Take over images from an OCI image layout",
		Long: `Take over the images of an OCI image layout: a directory, a tar archive, or - for one on
standard input, such as berth mirror export and docker save make. Everything is verified,
and what is here already is not written again. A mirror with --offline serves them then.`,
		Example: `  sudo berth mirror import /media/usb/images
  docker save app | sudo berth mirror import --as registry.example/app:1 -`,
		Args: exactly(1, "a directory, an archive or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, _, err := mirror.ParseImage(o.As); o.As != "" && err != nil {
				return usage(cmd, "--as: %w", err)
			}
			images, err := a.importFrom(cmd.Context(), dir, args[0], o)
			if err != nil {
				return err
			}
			return a.showCarried(images, asJSON)
		},
	}
	cmd.Flags().StringVar(&o.As, "as", "", "`IMAGE` to call the archive's only image")
	cmd.Flags().BoolVar(&o.Public, "public", false, "serve images that needed credentials to everybody")
	cmd.Flags().StringVar(&dir, "dir", "", "the mirror's directory (default: berth's own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object an image, one a line")
	return cmd
}

func (a *app) showCarried(images []mirror.Carried, asJSON bool) error {
	for _, i := range images {
		if asJSON {
			if err := a.printJSON(i); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(a.Out, "%s\t%s\n", i.Image, i.Digest); err != nil {
			return err
		}
		if i.Private {
			a.note("%s needed credentials; it is served only to who shows them. import --public serves it to everybody", i.Image)
		}
	}
	return nil
}

// exportTo writes the archive of the running mirror, or of its directory, where it is wanted.
func (a *app) exportTo(ctx context.Context, dir, out string, images []string) ([]mirror.Carried, error) {
	if out != "-" && !strings.HasSuffix(out, ".tar") {
		return a.exported(ctx, dir, images, func(r io.Reader) ([]mirror.Carried, error) { return mirror.Unpack(ctx, r, out) })
	}
	return a.exported(ctx, dir, images, func(r io.Reader) ([]mirror.Carried, error) {
		if out == "-" {
			return mirror.CheckArchive(ctx, io.TeeReader(r, a.Out))
		}
		return saveArchive(ctx, r, out)
	})
}

// saveArchive makes a file of the archive, in full or not at all. Images of private registries
// may be in it.
func saveArchive(ctx context.Context, r io.Reader, out string) ([]mirror.Carried, error) {
	var images []mirror.Carried
	err := writeWhole(ctx, out, 0o600, func(w io.Writer) (err error) {
		images, err = mirror.CheckArchive(ctx, io.TeeReader(r, w))
		return err
	})
	if err != nil {
		return nil, err
	}
	return images, nil
}

// exported hands the archive on as it comes.
func (a *app) exported(ctx context.Context, dir string, images []string, to func(io.Reader) ([]mirror.Carried, error)) ([]mirror.Carried, error) {
	if dir == "" {
		resp, err := callMirror(ctx, http.MethodGet, "/export?"+url.Values{"image": images}.Encode(), nil)
		if err == nil {
			defer resp.Body.Close()
			return to(resp.Body)
		}
		if !errors.Is(err, errNoMirror) {
			return nil, err
		}
	}
	var out []mirror.Carried
	err := a.inMirrorDir(dir, func(s *mirror.Store) error {
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := s.Export(ctx, w, images)
			w.CloseWithError(err)
			ended <- err
		}()
		var err error
		out, err = to(r)
		r.Close()
		if failed := <-ended; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
			return failed // and not what its reader made of it
		}
		return err
	})
	return out, err
}

// importFrom gives a layout to the running mirror, or to its directory.
func (a *app) importFrom(ctx context.Context, dir, path string, o mirror.ImportOptions) (images []mirror.Carried, err error) {
	archive, err := a.openLayout(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	if dir == "" {
		q := url.Values{"as": {o.As}, "public": {fmt.Sprint(o.Public)}}
		err := askMirrorWith(ctx, http.MethodPost, "/import?"+q.Encode(), io.NopCloser(archive), &images) // a request that nobody takes would close it
		if !errors.Is(err, errNoMirror) {
			return images, err
		}
		paths, err := state.FromEnv()
		if err != nil {
			return nil, err
		}
		if err := paths.Prepare(); err != nil {
			return nil, err
		}
		dir = paths.Mirror()
	}
	s, err := mirror.OpenStore(dir, 0, mirror.VerifyOnce, a.log())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Import(ctx, archive, o)
}

// openLayout reads a layout as an archive, whatever it is.
func (a *app) openLayout(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.In), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return os.Open(path)
	}
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		w.CloseWithError(errors.Join(t.AddFS(os.DirFS(path)), t.Close()))
	}()
	return r, nil
}
