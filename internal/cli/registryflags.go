package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/internal/command"
	"github.com/berth-dev/berth/internal/config"
	"github.com/berth-dev/berth/internal/snapshot/artifact"
	"github.com/berth-dev/berth/internal/trust"
)

// registryFlags say how berth itself reaches a registry. They are those of engines.
type registryFlags struct {
	cas, registryCAs, insecure []string
}

func (f *registryFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVar(&f.cas, "ca", nil, caHelp)
	fs.StringArrayVar(&f.registryCAs, "registry-ca", nil, registryCAHelp)
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, insecureHelp+", or that has none")
}

// registry is the client for a reference. Errors are the user's.
func (f *registryFlags) registry(cmd *cobra.Command, reference string) (artifact.Registry, name.Reference, error) {
	var r artifact.Registry
	ref, err := r.ParseReference(reference)
	if err != nil {
		return r, nil, usage(cmd, "%w", err)
	}
	host := ref.Context().RegistryStr()
	file, err := config.Load()
	if err != nil {
		return r, nil, usage(cmd, "%w", err)
	}
	if slices.Contains(append(file.Trust.Insecure, f.insecure...), host) {
		r.Insecure = true
		if ref, err = r.ParseReference(reference); err != nil {
			return r, nil, usage(cmd, "%w", err)
		}
	}
	roots, err := registryRoots(host, &trustFlags{cas: f.cas}, f.registryCAs)
	if err != nil {
		return r, nil, usage(cmd, "%w", err)
	}
	pool, err := trust.Pool(roots)
	if err != nil {
		return r, nil, usage(cmd, "%w", err)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, InsecureSkipVerify: r.Insecure}
	r.Transport = t
	r.Keychain, err = dockerKeychain()
	return r, ref, err
}

// dockerKeychain looks credentials up where docker login has put them for who called berth.
func dockerKeychain() (authn.Keychain, error) {
	const variable = "DOCKER_CONFIG"
	if os.Getenv(variable) == "" {
		as, err := command.Invoking()
		if err != nil {
			return nil, fmt.Errorf("find credentials: %w", err)
		}
		// The keychain knows no other way to be told.
		if err := os.Setenv(variable, filepath.Join(as.Home, ".docker")); err != nil {
			return nil, err
		}
	}
	return authn.DefaultKeychain, nil
}

// untrusted says what to do about a certificate that is not trusted.
func untrusted(ref name.Reference, err error) error {
	var certificate *tls.CertificateVerificationError
	if !errors.As(err, &certificate) {
		return err
	}
	return fmt.Errorf("%s: it is not to be trusted: %s", ref, trust.Refused(certificate).Advice(ref.Context().RegistryStr()))
}
