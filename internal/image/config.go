package image

import (
	"cmp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// HealthVerb is the verb that the image's HEALTHCHECK runs.
const HealthVerb = "health"

// assembled is an image as it is written.
type assembled struct {
	manifest, config []byte
	layers           []v1.Layer
}

// assemble puts the layers together with what `docker run` needs to know.
func assemble(o Options, layers *layerSet) (*assembled, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var err error
	for i, layer := range layers.layers {
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: o.Created}, CreatedBy: "berth image build", Comment: layers.names[i]},
		})
		if err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, _ = strings.Cut(o.Platform, "/")
	file.Created = v1.Time{Time: o.Created}
	file.Config = config(o)
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, err
	}
	return withStartInterval(img, layers.layers)
}

func config(o Options) v1.Config {
	labels := map[string]string{
		"org.opencontainers.image.title":       "berth",
		"org.opencontainers.image.description": "A Docker engine in a container; a drop-in for docker:dind",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     cmp.Or(o.Version, "(devel)"),
		"dev.berth.payload":                    o.Tree.Digest,
	}
	if o.Revision != "" {
		labels["org.opencontainers.image.revision"] = o.Revision
	}
	return v1.Config{
		Entrypoint: []string{"berth", "init"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"DOCKER_TLS_CERTDIR=/certs", // as docker:dind has it
		},
		WorkingDir: "/",
		// An overlay file system cannot have its upper directory on another, so images and
		// containers need a real one. `docker run --rm` and `docker rm -v` remove it.
		Volumes:      map[string]struct{}{"/var/lib/docker": {}},
		ExposedPorts: map[string]struct{}{"2375/tcp": {}, "2376/tcp": {}},
		StopSignal:   "SIGTERM",
		Labels:       labels,
		// The probe waits for the engine's readiness, so it succeeds the moment that comes.
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "berth", HealthVerb}, Interval: 10 * time.Second, Timeout: 10 * time.Second, StartPeriod: 30 * time.Second, Retries: 3,
		},
	}
}
