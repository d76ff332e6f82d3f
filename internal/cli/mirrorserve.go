package cli

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
)

// mirrorFlags are the flags of `mirror serve`; the configuration file has the same, and more.
type mirrorFlags struct {
	config.Mirror
	upstreams, registryCAs, cas, insecure []string
	configFile                            string
	authority                             string // directory
}

func (a *app) mirrorServeVerb() *cobra.Command {
	f := &mirrorFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the mirror",
		Long: `Run a pull-through cache for every registry, until it is interrupted. Engines of this
machine use it by themselves, by way of its socket. --listen serves others too, with TLS:
containerd asks by ?ns=REGISTRY, other clients put the registry before the repository
(MIRROR/REGISTRY/REPOSITORY), and a request without either is for Docker Hub.`,
		Example: `  sudo berth mirror serve --max-size 50g
  sudo berth mirror serve --listen 0.0.0.0:5443 --name mirror.example --registry-ca registry.example=ca.pem`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serveMirror(cmd, f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Dir, "dir", "", "`DIR` that content is kept in (default: mirror in berth's state directory)")
	fs.StringVar(&f.Socket, "socket", "", "`PATH` of the unix socket to serve on, or none (default: the one that engines look for)")
	fs.StringArrayVar(&f.Listen, "listen", nil, "`ADDRESS:PORT` to serve on, with TLS")
	fs.StringArrayVar(&f.Names, "name", nil, "a `HOST` name or address that the certificate is for, besides this machine's")
	fs.StringVar(&f.authority, "authority", "", "`DIR` of the authority that signs its certificate, ca.crt and ca.key (default: in berth's state directory)")
	fs.StringVar(&f.TLSCert, "tls-cert", "", "`FILE` with the certificate to present, with --tls-key (default: one of the mirror's own authority)")
	fs.StringVar(&f.TLSKey, "tls-key", "", "`FILE` with its key")
	fs.BoolVar(&f.PlainHTTP, "plain-http", false, "no TLS; --listen must be a loopback address")
	fs.StringVar(&f.MaxSize, "max-size", "", "most to keep: a `SIZE` such as 50g; what is not used for longest goes")
	fs.StringVar(&f.TagTTL, "tag-ttl", "", "`TIME` that a tag is not asked for again, such as 1m; 0 asks each time (default 10s)")
	fs.BoolVar(&f.Offline, "offline", false, "never ask a registry; serve what is here")
	fs.StringVar(&f.Verify, "verify", "", "`WHEN` content on disk is verified: once (the default), always or never")
	fs.StringVar(&f.OnLeave, "on-leave", "", "`WHAT` happens to a download that nobody waits for: cancel (the default; it is resumed later) or finish")
	fs.StringArrayVar(&f.Allow, "allow", nil, "`PATTERN` of registries to serve, such as *.example (default: all)")
	fs.StringArrayVar(&f.Deny, "deny", nil, "`PATTERN` of registries not to serve")
	fs.StringArrayVar(&f.upstreams, "upstream", nil, "a registry that may be on a private address: `REGISTRY` or REGISTRY=URL")
	fs.StringArrayVar(&f.registryCAs, "registry-ca", nil, registryCAHelp)
	fs.StringArrayVar(&f.cas, "ca", nil, caHelp+" for every registry")
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, insecureHelp)
	fs.StringVar(&f.DockerConfig, "docker-config", "", "`FILE`, a config.json, with the mirror's own credentials; all of its clients profit by them")
	fs.StringVar(&f.AccessLog, "access-log", "", "`FILE` for one JSON object a request, - for standard output")
	fs.StringVar(&f.configFile, "config", "", "configuration `FILE` (default: $BERTH_CONFIG or "+config.Default+")")
	return cmd
}

func (a *app) serveMirror(cmd *cobra.Command, f *mirrorFlags) error {
	paths, err := state.FromEnv()
	if err != nil {
		return err
	}
	file, err := readConfig(f.configFile)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	f.merge(cmd, file.Mirror)
	conf, err := f.config(file)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	if conf.Dir == "" {
		conf.Dir = paths.Mirror()
	}
	conf.Log = slog.New(&lineHandler{out: a.Err, level: slog.LevelWarn})
	if a.debug {
		conf.Log = a.log()
	}
	closeLog, err := a.accessLog(f.AccessLog, &conf)
	if err != nil {
		return err
	}
	defer closeLog()
	if err := paths.Prepare(); err != nil {
		return err
	}
	m, err := mirror.New(conf)
	if err != nil {
		return err
	}
	err = a.runMirror(cmd.Context(), m, f, paths)
	return errors.Join(err, m.Close())
}

func readConfig(path string) (config.File, error) {
	if path != "" {
		return config.Read(path)
	}
	return config.Load()
}
