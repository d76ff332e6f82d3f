package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/boot"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/image"
)

func (a *app) initVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DOCKERD-FLAG...] | CMD [ARG...]",
		Short: "The entry point of the container image",
		Long: `Start an engine for the container that this runs in, as docker:dind's entry point does:
arguments that begin with - are dockerd's, anything else is a command to run with
DOCKER_HOST set. Besides dockerd's flags there are

  --isolation userns|rootful|none   how far the engine is kept from the container
  --mirror URL                      ask this mirror for the images of all registries
  --mirror-only                     do not ask a registry itself when the mirror fails
  --ca FILE|DIR                     trust these authorities, besides the usual ones
  --registry-ca HOST[:PORT]=FILE    trust these for a registry
  --share-ca                        offer those of --ca to containers that ask (--device ` + engine.CADevice + `)
  --pids N                          most processes of the engine's containers
  --stop-timeout SECONDS            how long containers may take to end (default 60)

and the variables BERTH_ISOLATION, BERTH_MIRROR, BERTH_MIRROR_ONLY=1, BERTH_CA, BERTH_REGISTRY_CA
(HOST=FILE,…) and BERTH_SHARE_CA=1. The configuration file counts too, where one is mounted.`,
		Example: `  docker run --privileged -d --name dockerd berth:latest --registry-mirror=https://mirror.example
  berth init --registry-mirror=https://mirror.example    # what runs in that container`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			status, err := boot.Run(cmd.Context(), boot.Config{Args: args, Environ: os.Environ(), Umask: a.umask, Out: a.Out, Log: a.log()})
			if err != nil {
				a.note("%v", err)
			}
			return withStatus(status)
		},
	}
}

// healthVerb is the image's HEALTHCHECK, and what a pod's probes run.
func (a *app) healthVerb() *cobra.Command {
	registries := false
	cmd := &cobra.Command{
		Use:     image.HealthVerb,
		Aliases: []string{"_health"}, // of images that are about
		Short:   "Wait until the engine of this container can be used",
		Long: `In a container of berth's image: wait until the engine can be used, and then ask it whether it
answers. The exit status is 0 when it does. It is what the image's HEALTHCHECK and the probes
of a pod run. With --registries, the certificates of those registries are looked at for which
the container has some in /etc/docker/certs.d: ones that do not fit are an error.`,
		Example: "  kubectl exec build-x7k2p -c engine -- berth health",
		Args:    atMost(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return boot.Health(cmd.Context(), registries) },
	}
	cmd.Flags().BoolVar(&registries, "registries", false, "look at registries' certificates as well")
	return cmd
}

// asEntrypoint adds the verb for those who call berth by the name of docker:dind's scripts.
func asEntrypoint(program string, args []string) []string {
	switch filepath.Base(program) {
	case "dockerd-entrypoint.sh", "docker-entrypoint.sh":
		return append([]string{"init"}, args...)
	}
	return args
}
