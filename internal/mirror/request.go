package mirror

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/internal/lazyregexp"
	"github.com/opencontainers/go-digest"
)

// kind is what is asked for.
type kind string

const (
	kindBase      kind = "base" // does this server speak the protocol?
	kindManifest  kind = "manifest"
	kindBlob      kind = "blob"
	kindTags      kind = "tags"
	kindReferrers kind = "referrers"
)

// target is what a request asks for.
type target struct {
	registry string // canonical; docker.io for Docker Hub
	repo     string
	kind     kind
	tag      string        // of a manifest that is asked for by tag
	digest   digest.Digest // of anything else
}

// moves reports whether what the target stands for may change: that of a digest does not.
func (t target) moves() bool { return t.tag != "" || t.kind == kindReferrers }

func (t target) ref() string {
	if t.tag != "" {
		return t.tag
	}
	return t.digest.String()
}

// path is where a registry has it.
func (t target) path() string {
	base := "/v2/" + t.repo
	switch t.kind {
	case kindManifest:
		return base + "/manifests/" + t.ref()
	case kindBlob:
		return base + "/blobs/" + t.digest.String()
	case kindReferrers:
		return base + "/referrers/" + t.digest.String()
	default:
		return base + "/tags/list"
	}
}

// hub is Docker Hub's canonical name, hubHost where it is.
const (
	hub     = "docker.io"
	hubHost = "registry-1.docker.io"
)

// Lengths that no honest name has, in bytes (the distribution specification; RFC 1035 for hosts).
const (
	maxRepo     = 255
	maxRegistry = 255
	maxPath     = 1024
)

var (
	repoPattern = lazyregexp.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	// portPattern is HOST_PORT: a colon cannot be in the middle of an image's name.
	portPattern = lazyregexp.New(`^([^_]+)_([0-9]{1,5})$`)
	hostPattern = lazyregexp.New(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$`)
)

// parseRegistry returns a registry's canonical name: HOST, HOST:PORT, with [ ] around an
// IPv6 address, in small letters, without the port that is meant anyway. What is allowed,
// denied and configured is found by it, so a registry must have no other.
func parseRegistry(s string) (string, error) {
	if len(s) > maxRegistry {
		return "", errors.New("the registry's name is too long")
	}
	s = strings.ToLower(s)
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return "", fmt.Errorf("%q is no port", port)
		}
		if port == "443" {
			s = host
		}
	}
	if ip, ok := strings.CutPrefix(host, "["); ok {
		ip, closed := strings.CutSuffix(ip, "]")
		parsed, err := netip.ParseAddr(ip)
		if !closed || err != nil || !parsed.Is6() || parsed.Is4In6() || parsed.Zone() != "" {
			return "", fmt.Errorf("%q is no IPv6 address", host)
		}
		s = "[" + parsed.String() + "]" + strings.TrimPrefix(s, host)
	} else if !hostPattern().MatchString(host) {
		return "", fmt.Errorf("%q is no registry's host name", s)
	}
	if s == "index.docker.io" || s == hubHost {
		return hub, nil
	}
	return s, nil
}

// parseTarget reads a request's path and its ns parameter.
func parseTarget(urlPath, ns string) (target, error) {
	t := target{registry: hub}
	rest, ok := strings.CutPrefix(urlPath, "/v2")
	if !ok || len(urlPath) > maxPath || rest != "" && rest[0] != '/' {
		return t, errNotFound("no such page; the registry protocol is below /v2/")
	}
	rest = strings.TrimPrefix(rest, "/")
	if rest == "" {
		t.kind = kindBase
		return t, nil
	}
	if path.Clean("/"+rest) != "/"+rest {
		return t, errName("the path is not clean")
	}
	if err := t.splitKind(rest); err != nil {
		return t, err
	}
	return t, t.splitRegistry(ns)
}

// splitKind finds what comes after the repository's name. From the right: a repository may
// be called "blobs".
func (t *target) splitKind(rest string) error {
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		t.repo, t.kind = repo, kindTags
		return nil
	}
	head, last := path.Split(rest)
	for segment, k := range map[string]kind{"/manifests/": kindManifest, "/blobs/": kindBlob, "/referrers/": kindReferrers} {
		repo, ok := strings.CutSuffix(head, segment)
		if !ok {
			continue
		}
		t.repo, t.kind = repo, k
		if strings.Contains(last, ":") || k != kindManifest {
			t.digest = digest.Digest(last)
			if err := t.digest.Validate(); err != nil || t.digest.Algorithm() != digest.SHA256 && t.digest.Algorithm() != digest.SHA512 {
				return errDigest(fmt.Sprintf("%q is no sha256 or sha512 digest", last))
			}
			return nil
		}
		if !tagPattern().MatchString(last) {
			return errName(fmt.Sprintf("%q is no tag", last))
		}
		t.tag = last
		return nil
	}
	return errNotFound("no such page; the mirror serves manifests, blobs, tags/list and referrers")
}

func (t *target) splitRegistry(ns string) error {
	if ns == "" {
		if host, rest, ok := cutHost(t.repo); ok {
			ns, t.repo = host, rest
		}
	}
	if ns != "" {
		registry, err := parseRegistry(ns)
		if err != nil {
			return errName(err.Error())
		}
		t.registry = registry
	}
	if t.registry == hub && !strings.Contains(t.repo, "/") {
		t.repo = "library/" + t.repo
	}
	if len(t.repo) > maxRepo || !repoPattern().MatchString(t.repo) {
		return errName(fmt.Sprintf("%.80q is no repository's name", t.repo))
	}
	return nil
}

// cutHost takes a registry from the front of a name, if there is one.
func cutHost(name string) (host, rest string, ok bool) {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || !looksLikeHost(first) {
		return "", name, false
	}
	return portPattern().ReplaceAllString(first, "$1:$2"), rest, true
}

// looksLikeHost is how image names tell a registry from a part of a repository's name.
func looksLikeHost(s string) bool {
	return strings.ContainsAny(s, ".:") || s == "localhost" || strings.HasPrefix(s, "localhost_")
}

// permitted tells whether the policy admits a registry that is not in the configuration.
func (m *Mirror) permitted(registry string) bool {
	match := func(patterns []string) bool {
		for _, p := range patterns {
			if name, err := parseRegistry(p); err == nil && name == registry { // [::1] is a pattern of something else
				return true
			}
			if ok, err := path.Match(strings.TrimSuffix(strings.ToLower(p), ":443"), registry); ok && err == nil {
				return true
			}
		}
		return false
	}
	return !match(m.conf.Deny) && (len(m.conf.Allow) == 0 || match(m.conf.Allow))
}
