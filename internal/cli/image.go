package cli

import (
	"context"
	"io"
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
			if err := image.CheckName(name); err != nil {
				return usage(cmd, "--name: %w", err)
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
	return writeWhole(ctx, out, 0o644, func(w io.Writer) error { return image.Build(ctx, w, o) })
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
