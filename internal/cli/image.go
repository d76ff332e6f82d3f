package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/image"
	"github.com/berth-dev/berth/internal/payload"
	"github.com/berth-dev/berth/internal/version"
)

func (a *app) imageVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Short:   "The container image that replaces docker:dind",
		Example: "  sudo berth image build -o berth.tar",
		Args:    atMost(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageBuildVerb())
	return cmd
}

func (a *app) imageBuildVerb() *cobra.Command {
	var out, name string
	cmd := &cobra.Command{
		Use:   "build -o FILE",
		Short: "Make the image as an archive, without Docker",
		Long: `Make the image, a drop-in for docker:dind, as an OCI archive that docker load, podman load,
ctr image import and skopeo take. It needs neither Docker nor network, and the same berth
makes the same bytes.`,
		Example: `  sudo berth image build -o berth.tar
  docker load -i berth.tar && docker run --privileged -d --name dockerd berth:latest`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(cmd, "-o FILE is missing; use -o - for standard output")
			}
			return a.buildImage(cmd.Context(), out, name)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write, or - for standard output")
	cmd.Flags().StringVar(&name, "name", image.DefaultName, "name of the image: `REPOSITORY:TAG`")
	return cmd
}

func (a *app) buildImage(ctx context.Context, out, name string) error {
	o, err := a.imageOptions(ctx, name)
	if err != nil {
		return err
	}
	if out == "-" {
		return image.Build(ctx, a.Out, o)
	}
	return writeWhole(out, 0o644, func(w io.Writer) error { return image.Build(ctx, w, o) })
}

func (a *app) imageOptions(ctx context.Context, name string) (image.Options, error) {
	var o image.Options
	p, err := payload.Embedded()
	if err != nil {
		return o, err
	}
	m, err := p.Manifest()
	if err != nil {
		return o, err
	}
	es, err := a.open(a)
	if err != nil {
		return o, err
	}
	o = image.Options{
		Manifest: p.RawManifest(), Platform: m.Platform, Name: name,
		Version: version.Version(), Revision: version.Commit(), Progress: a.progress(),
	}
	if o.Tree, err = es.Tree(ctx); err != nil {
		return o, err
	}
	if t, err := time.Parse(time.RFC3339, version.Date()); err == nil {
		o.Created = t
	}
	return o, nil
}

// writeWhole makes a file appear whole, and with its mode, or not at all.
func writeWhole(path string, mode os.FileMode, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // finds nothing after the rename
	err = fill(f)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
