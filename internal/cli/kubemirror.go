package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/certsd"
	"github.com/berth-dev/berth/internal/kube"
	"github.com/berth-dev/berth/internal/trust"
)

func (a *app) kubeMirrorVerb() *cobra.Command {
	o := kube.MirrorOptions{Name: "berth-mirror", Image: kube.Defaults().Image}
	out, values, authority := &kubeOutput{}, "", ""
	var registryCAs, allow []string
	cmd := &cobra.Command{
		Use:   "mirror",
		Short: "Write the manifest of a mirror of all registries for a cluster",
		Long: `Write the manifest of a mirror of all registries: a Deployment with a claim for its cache, or a
DaemonSet with a cache on each node; its Service; a NetworkPolicy that lets only pods ask; and
its certificate authority. The authority is kept in --authority DIR, where it is made at first;
without, each call makes a new one, and pods that trust the old one have to be told.`,
		Example: `  berth kube mirror --namespace ci --size 50Gi --authority ./mirror-ca | kubectl apply -f -
  berth kube job --name build --client-image docker:cli --mirror https://berth-mirror.ci.svc:5443 --mirror-ca ./mirror-ca/ca.crt -- docker pull debian:12`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if values != "" {
				if err := applyValues(cmd, values, nil); err != nil {
					return usage(cmd, "--values: %w", err)
				}
			}
			var err error
			if o.RegistryCAs, err = kubeRegistryCAs(registryCAs); err != nil {
				return usage(cmd, "%w", err)
			}
			for _, u := range o.Upstreams {
				if err := certsd.CheckRegistry(u); err != nil {
					return usage(cmd, "--upstream %s: %w", u, err)
				}
			}
			if o.AllowFrom, err = parseLabels("--allow-from", allow); err != nil {
				return usage(cmd, "%w", err)
			}
			if _, err := kube.Mirror(o); err != nil { // before anything is made
				return kubeError(cmd, err)
			}
			if err := addAuthority(&o, authority); err != nil {
				return err
			}
			m, err := kube.Mirror(o)
			if err != nil {
				return kubeError(cmd, err)
			}
			return out.print(cmd.Context(), a, m)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&values, "values", "f", "", "read flags from a YAML `FILE`, in which each has its long name (- for standard input)")
	fs.StringVar(&o.Name, "name", o.Name, "what the objects, and the mirror in DNS, are called")
	fs.StringVarP(&o.Namespace, "namespace", "n", "", "namespace of the objects (default: the one kubectl is set to)")
	fs.StringVar(&o.Image, "image", o.Image, "berth's container image")
	fs.BoolVar(&o.DaemonSet, "daemonset", false, "a mirror on each node, which the node's pods ask")
	fs.StringVar(&o.Size, "size", "", "size of the cache, such as 50Gi; a tenth of it is kept free")
	fs.StringVar(&o.StorageClass, "storage-class", "", "storage class of the cache (default: the cluster's)")
	fs.BoolVar(&o.Ephemeral, "ephemeral", false, "no claim: the cache goes with the pod")
	fs.StringVar(&authority, "authority", "", "`DIR` of the mirror's authority, ca.crt and ca.key, which is made when it is not there")
	fs.StringArrayVar(&registryCAs, "registry-ca", nil, registryCAHelp)
	fs.StringArrayVar(&o.Upstreams, "upstream", nil, "a registry that may be on a private address: `HOST[:PORT]`")
	fs.StringVar(&o.DockerConfigSecret, "docker-config-secret", "", "Secret (kubernetes.io/dockerconfigjson) with the mirror's own credentials; all clients profit by them")
	fs.StringArrayVar(&allow, "allow-from", nil, "a label of the pods that may ask: `KEY=VALUE` (default: every pod)")
	fs.StringVar(&o.Memory, "memory", "", "most memory, such as 512Mi")
	fs.StringVar(&o.CPUs, "cpus", "", "most processors, such as 1")
	out.register(cmd)
	return cmd
}

func addAuthority(o *kube.MirrorOptions, dir string) error {
	name := "Berth mirror " + o.URL()
	authority, err := trust.NewAuthority(name)
	if dir != "" {
		authority, err = trust.OpenAuthority(dir, name)
	}
	if err != nil {
		return fmt.Errorf("--authority: %w", err)
	}
	key, err := authority.KeyPEM()
	o.CA, o.Key = authority.PEM(), string(key)
	return err
}
