package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// prefetchWidth is how many blobs of an image are fetched at a time.
const prefetchWidth = 4

// Prefetched is what [Prefetch] found and now has.
type Prefetched struct {
	Image     string        `json:"image"`
	Digest    digest.Digest `json:"digest"`
	Manifests int           `json:"manifests"`
	Blobs     int           `json:"blobs"`
	Bytes     int64         `json:"bytes"` // of the blobs
}

// ParseImage reads an image's name: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]. What it returns
// are a registry, and a repository and tag or digest there.
func ParseImage(image string) (registry, repo, ref string, err error) {
	rest, sum, pinned := strings.Cut(image, "@")
	ref = "latest"
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, ref = rest[:i], rest[i+1:]
	}
	if pinned {
		ref = sum
	}
	t, err := parseTarget("/v2/"+rest+"/manifests/"+ref, "")
	if err != nil {
		return "", "", "", fmt.Errorf("%q is no image's name: %w", image, err)
	}
	return t.registry, t.repo, t.ref(), nil
}

// Prefetch has a running mirror, by way of its client, fetch an image: its manifests and
// blobs for one platform (OS/ARCH[/VARIANT]), or for all when platform is empty.
// Cancelling ctx ends it; the mirror keeps what it has got.
func Prefetch(ctx context.Context, client *http.Client, image, platform string) (Prefetched, error) {
	registry, repo, ref, err := ParseImage(image)
	if err != nil {
		return Prefetched{}, err
	}
	p := &prefetch{client: client, base: "http://mirror/v2/" + repo, ns: "?ns=" + url.QueryEscape(registry), platform: platform, seen: map[digest.Digest]int64{}}
	out := Prefetched{Image: registry + "/" + repo + ":" + ref}
	if strings.Contains(ref, ":") {
		out.Image = registry + "/" + repo + "@" + ref
	}
	if out.Digest, err = p.manifest(ctx, ref); err != nil {
		return out, fmt.Errorf("%s: %w", out.Image, err)
	}
	out.Manifests, out.Blobs = p.manifests, len(p.seen)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(prefetchWidth)
	for d, size := range p.seen {
		out.Bytes += size
		g.Go(func() error { return p.blob(ctx, d) })
	}
	return out, g.Wait()
}

type prefetch struct {
	client             *http.Client
	base, ns, platform string
	manifests          int
	seen               map[digest.Digest]int64 // sizes of blobs
}

func (p *prefetch) get(ctx context.Context, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+what+p.ns, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var body struct{ Errors []struct{ Message string } }
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&body) == nil && len(body.Errors) > 0 {
		return nil, errors.New(body.Errors[0].Message)
	}
	return nil, errors.New(resp.Status)
}

// manifest fetches one, and what it refers to.
func (p *prefetch) manifest(ctx context.Context, ref string) (digest.Digest, error) {
	resp, err := p.get(ctx, "/manifests/"+ref)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var m references
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&m); err != nil {
		return "", fmt.Errorf("its manifest: %w", err)
	}
	p.manifests++
	for _, b := range m.content() {
		if !elsewhere(b) {
			p.seen[b.Digest] = b.Size
		}
	}
	matched := len(m.Manifests) == 0
	for _, d := range m.Manifests {
		if !p.wants(d) {
			continue
		}
		matched = true
		if _, err := p.manifest(ctx, d.Digest.String()); err != nil {
			return "", err
		}
	}
	if !matched {
		return "", fmt.Errorf("it has nothing for %s", p.platform)
	}
	return digest.Digest(resp.Header.Get("Docker-Content-Digest")), nil
}

func (p *prefetch) wants(d ocispec.Descriptor) bool {
	if p.platform == "" || d.Platform == nil {
		return true
	}
	is := d.Platform.OS + "/" + d.Platform.Architecture
	return p.platform == is || p.platform == is+"/"+d.Platform.Variant
}

func (p *prefetch) blob(ctx context.Context, d digest.Digest) error {
	resp, err := p.get(ctx, "/blobs/"+d.String())
	if err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}
