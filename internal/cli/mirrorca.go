package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/state"
)

func (a *app) mirrorCAVerb() *cobra.Command {
	format, host, out := "pem", "", ""
	cmd := &cobra.Command{
		Use: "ca", Short: "Print the certificate of the mirror's authority",
		Long: `Print what others need in order to trust the mirror's certificate: the authority's
certificate as PEM, as a Kubernetes ConfigMap, or as a certs.d tree written to --out.`,
		Example: `  sudo berth mirror ca > mirror-ca.pem
  sudo berth mirror ca --format certs.d --host mirror.example:5443 --out /etc/docker/certs.d`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := state.FromEnv()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(paths.MirrorTLS(), "ca.crt"))
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("the mirror has no authority yet: it is made when `berth mirror serve --listen` first starts")
			}
			if err != nil {
				return err
			}
			switch format {
			case "pem":
				_, err = a.Out.Write(text)
				return err
			case "configmap":
				return a.printConfigMap(string(text))
			case "certs.d":
				if err := certsd.CheckRegistry(host); err != nil || out == "" {
					return usage(cmd, "--format certs.d needs --host HOST:PORT, the mirror's address, and --out DIR")
				}
				return writeCertsDir(out, host, text)
			}
			return usage(cmd, "--format %s: choose pem, configmap or certs.d", format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "pem", "pem, configmap or certs.d")
	cmd.Flags().StringVar(&host, "host", "", "HOST:PORT at which the mirror is reached, for certs.d")
	cmd.Flags().StringVar(&out, "out", "", "directory to write the certs.d tree to")
	return cmd
}

func (a *app) printConfigMap(pem string) error {
	_, err := fmt.Fprintf(a.Out, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: berth-mirror-ca\ndata:\n  ca.crt: |\n    %s\n",
		strings.ReplaceAll(strings.TrimRight(pem, "\n"), "\n", "\n    "))
	return err
}

// writeCertsDir makes every registry be asked for by way of the mirror, and itself afterwards
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
func writeCertsDir(dir, host string, pem []byte) error {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, "443")
	}
	d := filepath.Join(dir, "_default")
	if err := os.MkdirAll(d, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d, "mirror-ca.crt"), pem, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d, "hosts.toml"), fmt.Appendf(nil,
		"[host.\"https://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"mirror-ca.crt\"\n", host), 0o644)
}
