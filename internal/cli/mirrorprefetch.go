package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) mirrorPrefetchVerb() *cobra.Command {
	platform, asJSON := "linux/"+runtime.GOARCH, false
	cmd := &cobra.Command{
		Use: "prefetch IMAGE...", Short: "Have the running mirror fetch images before they are needed",
		Example: "  sudo berth mirror prefetch debian:12 ghcr.io/org/app:1", Args: atLeast(1, "an image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, image := range args {
				if _, _, _, err := mirror.ParseImage(image); err != nil {
					return usage(cmd, "%w", err)
				}
			}
			client, err := mirrorClient()
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			if platform == "all" {
				platform = ""
			}
			for _, image := range args {
				got, err := mirror.Prefetch(cmd.Context(), client, image, platform)
				var dial *net.OpError
				if errors.As(err, &dial) && dial.Op == "dial" {
					return errNoMirror
				}
				if err != nil {
					return fmt.Errorf("prefetch %w", err)
				}
				if asJSON {
					err = a.printJSON(got)
				} else {
					_, err = fmt.Fprintf(a.Out, "%s is here: %s, %d blobs, %s\n", got.Image, got.Digest, got.Blobs, units.BytesSize(float64(got.Bytes)))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&platform, "platform", platform, "OS/ARCH[/VARIANT] to fetch, or all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object an image, one a line")
	return cmd
}

// mirrorClient asks this machine's mirror as engines do.
func mirrorClient() (*http.Client, error) {
	paths, err := state.FromEnv()
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", paths.MirrorSocket())
	}}}, nil
}
