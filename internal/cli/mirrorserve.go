package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/engine"
	"github.com/berth-dev/berth/internal/mirror"
	"github.com/berth-dev/berth/internal/state"
	"github.com/berth-dev/berth/internal/trust"
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
	fs.StringVar(&f.Dir, "dir", "", "where content is kept (default: mirror in berth's state directory)")
	fs.StringVar(&f.Socket, "socket", "", "unix socket to serve on, or none (default: the one that engines look for)")
	fs.StringArrayVar(&f.Listen, "listen", nil, "ADDRESS:PORT to serve on, with TLS")
	fs.StringArrayVar(&f.Names, "name", nil, "a host name or address that the certificate is for, besides this machine's")
	fs.StringVar(&f.authority, "authority", "", "`DIR` of the authority that signs its certificate, ca.crt and ca.key (default: in berth's state directory)")
	fs.StringVar(&f.TLSCert, "tls-cert", "", "certificate to present, with --tls-key (default: one of the mirror's own authority)")
	fs.StringVar(&f.TLSKey, "tls-key", "", "its key")
	fs.BoolVar(&f.PlainHTTP, "plain-http", false, "no TLS; --listen must be a loopback address")
	fs.StringVar(&f.MaxSize, "max-size", "", "most bytes to keep, such as 50g; what is not used for longest goes")
	fs.StringVar(&f.TagTTL, "tag-ttl", "", "how long a tag is not asked for again, such as 1m; 0 asks each time (default 10s)")
	fs.BoolVar(&f.Offline, "offline", false, "never ask a registry; serve what is here")
	fs.StringVar(&f.Verify, "verify", "", "when content on disk is verified: once (the default), always or never")
	fs.StringVar(&f.OnLeave, "on-leave", "", "what happens to a download that nobody waits for: cancel (the default; it is resumed later) or finish")
	fs.StringArrayVar(&f.Allow, "allow", nil, "pattern of registries to serve, such as *.example (default: all)")
	fs.StringArrayVar(&f.Deny, "deny", nil, "pattern of registries not to serve")
	fs.StringArrayVar(&f.upstreams, "upstream", nil, "a registry that may be on a private address: REGISTRY or REGISTRY=URL")
	fs.StringArrayVar(&f.registryCAs, "registry-ca", nil, "trust the certificates in FILE for a registry: HOST[:PORT]=FILE")
	fs.StringArrayVar(&f.cas, "ca", nil, "trust the certificates in a FILE or DIR for every registry")
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, "a registry whose certificate is not judged")
	fs.StringVar(&f.DockerConfig, "docker-config", "", "config.json with the mirror's own credentials; all of its clients profit by them")
	fs.StringVar(&f.AccessLog, "access-log", "", "FILE for one JSON object a request, - for standard output")
	fs.StringVar(&f.configFile, "config", "", "configuration FILE (default: $BERTH_CONFIG or "+config.Default+")")
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

// merge takes from the file what no flag says.
func (f *mirrorFlags) merge(cmd *cobra.Command, file config.Mirror) {
	unset := func(flag string) bool { return !cmd.Flags().Changed(flag) }
	for flag, p := range map[string][2]*string{
		"dir": {&f.Dir, &file.Dir}, "socket": {&f.Socket, &file.Socket}, "tls-cert": {&f.TLSCert, &file.TLSCert},
		"tls-key": {&f.TLSKey, &file.TLSKey}, "max-size": {&f.MaxSize, &file.MaxSize}, "tag-ttl": {&f.TagTTL, &file.TagTTL},
		"verify": {&f.Verify, &file.Verify}, "on-leave": {&f.OnLeave, &file.OnLeave},
		"docker-config": {&f.DockerConfig, &file.DockerConfig}, "access-log": {&f.AccessLog, &file.AccessLog},
	} {
		if unset(flag) {
			*p[0] = *p[1]
		}
	}
	for flag, p := range map[string][2]*[]string{
		"listen": {&f.Listen, &file.Listen}, "name": {&f.Names, &file.Names}, "allow": {&f.Allow, &file.Allow}, "deny": {&f.Deny, &file.Deny},
	} {
		if unset(flag) {
			*p[0] = *p[1]
		}
	}
	if unset("offline") {
		f.Offline = file.Offline
	}
	if unset("plain-http") {
		f.PlainHTTP = file.PlainHTTP
	}
	f.Upstream = file.Upstream
}

// config is what the flags and the file come to.
func (f *mirrorFlags) config(file config.File) (mirror.Config, error) {
	c := mirror.Config{Dir: f.Dir, Allow: f.Allow, Deny: f.Deny, Offline: f.Offline, Verify: mirror.Verify(f.Verify), Upstreams: map[string]mirror.Upstream{}}
	if !slices.Contains([]mirror.Verify{"", mirror.VerifyOnce, mirror.VerifyAlways, mirror.VerifyNever}, c.Verify) {
		return c, fmt.Errorf("--verify %s: choose once, always or never", f.Verify)
	}
	if !slices.Contains([]string{"", "cancel", "finish"}, f.OnLeave) {
		return c, fmt.Errorf("--on-leave %s: choose cancel or finish", f.OnLeave)
	}
	c.Finish = f.OnLeave == "finish"
	if f.MaxSize != "" {
		n, err := units.RAMInBytes(f.MaxSize)
		if err != nil || n <= 0 {
			return c, fmt.Errorf("--max-size %s: not a size; give a number with m or g, such as 50g", f.MaxSize)
		}
		c.MaxSize = n
	}
	if f.TagTTL != "" {
		d, err := time.ParseDuration(f.TagTTL)
		if err != nil || d < 0 {
			return c, fmt.Errorf("--tag-ttl %s: not a duration; give one such as 30s, or 0", f.TagTTL)
		}
		if c.TagTTL = d; d == 0 {
			c.TagTTL = -1
		}
	}
	if f.DockerConfig != "" {
		c.Credentials = mirror.DockerConfig(f.DockerConfig)
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return c, errors.New("--tls-cert and --tls-key belong together")
	}
	if err := f.addUpstreams(&c, file); err != nil {
		return c, err
	}
	return c, f.addTrust(&c, file.Trust)
}

func (f *mirrorFlags) addUpstreams(c *mirror.Config, file config.File) error {
	for name, u := range f.Upstream {
		up := mirror.Upstream{URL: u.URL, Insecure: u.Insecure, User: u.User, Hosts: u.Hosts}
		var err error
		if u.CA != "" {
			if up.CA, err = trust.Read(u.CA); err != nil {
				return fmt.Errorf("mirror.upstream.%q: %w", name, err)
			}
		}
		if u.ClientCert != "" {
			pair, err := tls.LoadX509KeyPair(u.ClientCert, u.ClientKey)
			if err != nil {
				return fmt.Errorf("mirror.upstream.%q: %w", name, err)
			}
			up.ClientCert = &pair
		}
		if u.PasswordFile != "" {
			b, err := readSmall(u.PasswordFile)
			if err != nil {
				return fmt.Errorf("mirror.upstream.%q: %s: %w", name, u.PasswordFile, err)
			}
			up.Password = strings.TrimRight(string(b), "\r\n")
		}
		c.Upstreams[name] = up
	}
	for _, s := range f.upstreams {
		name, url, _ := strings.Cut(s, "=")
		if err := engine.CheckRegistry(name); err != nil {
			return fmt.Errorf("--upstream %s: %w", s, err)
		}
		up := c.Upstreams[name]
		up.URL = url
		c.Upstreams[name] = up
	}
	return nil
}

// addTrust adds what is trusted. A registry that something is said of is one of the
// configuration: it may be on a private address.
func (f *mirrorFlags) addTrust(c *mirror.Config, file config.Trust) error {
	for _, path := range append(append([]string(nil), file.CA...), f.cas...) {
		text, err := trust.Read(path)
		if err != nil {
			return fmt.Errorf("--ca %w", err)
		}
		c.CAs += text
	}
	for host, path := range file.RegistryCA {
		f.registryCAs = append(f.registryCAs, host+"="+path)
	}
	for _, s := range f.registryCAs {
		ca, err := parseRegistryCA(s)
		if err != nil {
			return fmt.Errorf("--registry-ca %s: %w", s, err)
		}
		up := c.Upstreams[ca.Host]
		up.CA += ca.PEM
		c.Upstreams[ca.Host] = up
	}
	for _, host := range append(append([]string(nil), file.Insecure...), f.insecure...) {
		if err := engine.CheckRegistry(host); err != nil {
			return fmt.Errorf("--insecure-registry %w", err)
		}
		up := c.Upstreams[host]
		up.Insecure = true
		c.Upstreams[host] = up
	}
	return nil
}

// accessLog opens the log of requests.
func (a *app) accessLog(name string, c *mirror.Config) (func(), error) {
	var to io.Writer = a.Out
	done := func() {}
	switch name {
	case "":
		return done, nil
	case "-":
	default:
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
		if err != nil {
			return nil, fmt.Errorf("--access-log: %w", err)
		}
		to, done = f, func() { f.Close() }
	}
	c.AccessLog = slog.New(slog.NewJSONHandler(to, nil))
	return done, nil
}

// runMirror listens and serves until it is told to end.
func (a *app) runMirror(ctx context.Context, m *mirror.Mirror, f *mirrorFlags, paths state.Paths) error {
	var all []mirror.Endpoint
	fail := func(err error) error {
		for _, e := range all {
			e.Listener.Close()
		}
		return err
	}
	var names []string
	if socket := orDefault(f.Socket, paths.MirrorSocket()); socket != "none" {
		l, err := mirror.ListenUnix(socket)
		if err != nil {
			return fail(fmt.Errorf("listen for engines: %w", err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Handler(false)})
		names = append(names, "unix://"+socket)
	}
	for _, address := range f.Listen {
		l, err := f.listen(address, paths)
		if err != nil {
			return fail(fmt.Errorf("--listen %s: %w", address, err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Handler(true)})
		scheme := "https://"
		if f.PlainHTTP {
			scheme = "http://"
		}
		names = append(names, scheme+l.Addr().String())
	}
	if len(all) == 0 {
		return errors.New("nothing to listen on; give --listen, or leave out --socket none")
	}
	if f.Dir == "" || f.Dir == paths.Mirror() { // the machine's own mirror
		l, err := mirror.ListenUnix(paths.MirrorControl())
		if err != nil {
			return fail(fmt.Errorf("listen for `berth mirror`: %w", err))
		}
		all = append(all, mirror.Endpoint{Listener: l, Handler: m.Control(names)})
	}
	if _, err := fmt.Fprintf(a.Out, "Mirror is ready on %s\n", strings.Join(names, ", ")); err != nil {
		return fail(err)
	}
	return mirror.Serve(ctx, all)
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// listen opens a TCP listener. Without TLS it must be one that only this machine reaches.
func (f *mirrorFlags) listen(address string, paths state.Paths) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("give ADDRESS:PORT")
	}
	if f.PlainHTTP {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return nil, errors.New("--plain-http is for loopback addresses, such as 127.0.0.1:5080; leave it out for others")
		}
		return net.Listen("tcp", address)
	}
	conf, err := f.tls(host, paths)
	if err != nil {
		return nil, err
	}
	conf.NextProtos = []string{"h2", "http/1.1"}
	return tls.Listen("tcp", address, conf)
}

func (f *mirrorFlags) tls(host string, paths state.Paths) (*tls.Config, error) {
	if f.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
	}
	names := append([]string{"localhost", "127.0.0.1", "::1"}, f.Names...)
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	authority, err := trust.OpenAuthority(orDefault(f.authority, paths.MirrorTLS()), "Berth mirror on "+names[len(names)-1])
	if err != nil {
		return nil, err
	}
	return authority.Server(names)
}
