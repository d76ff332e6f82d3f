package berth

import (
	"context"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parseReference is an image's name in full, as Docker understands it (the distribution
// project's reference grammar).
func parseReference(op, ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, &Error{Op: op, Subject: ref, Kind: ErrInvalidReference, Reason: err.Error(), Err: err}
	}
	return reference.TagNameOnly(named), nil
}

// parsePlatform understands OS/ARCH[/VARIANT]; empty is the engine's own.
func parsePlatform(op, s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return nil, &Error{Op: op, Kind: ErrInvalid, Reason: fmt.Sprintf("invalid argument: platform %q is not OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64", s)}
	}
	p := &ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func formatPlatform(os, arch, variant string) string {
	s := os + "/" + arch
	if variant != "" {
		s += "/" + variant
	}
	return s
}

// registryAuth is what dockerd is to log in with, as its X-Registry-Auth header.
func registryAuth(ctx context.Context, keychain authn.Keychain, ref reference.Named) (string, error) {
	reg, err := name.NewRegistry(reference.Domain(ref))
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", ref.Name(), err)
	}
	auth, err := authn.Resolve(ctx, keychain, resource{reg, ref})
	if err != nil {
		return "", noCredentials(ctx, reg, err)
	}
	if auth == authn.Anonymous {
		return "", nil
	}
	c, err := authn.Authorization(ctx, auth)
	if err != nil {
		return "", noCredentials(ctx, reg, err)
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken, ServerAddress: reg.RegistryStr(),
	})
}

// noCredentials says that a keychain or a credential helper has failed.
func noCredentials(ctx context.Context, reg name.Registry, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &Error{Op: "look up credentials for", Subject: reg.RegistryStr(), Kind: ErrUnauthorized, Reason: err.Error() + "; mend the credential helper, or use berth.WithCredentials", Err: err}
}

// resource is what credentials are looked up for: the repository's, else the registry's.
type resource struct {
	name.Registry
	ref reference.Named
}

func (r resource) String() string { return r.RegistryStr() + "/" + reference.Path(r.ref) }
