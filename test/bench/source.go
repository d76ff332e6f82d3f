package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // named below
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/berth-dev/berth/test/image"
)

const sourceImage = "team/app:1"

// source is a registry on loopback that is as slow as the measurement wants, and counts.
type source struct {
	name    string // what the mirror calls it
	server  *httptest.Server
	layer   v1.Hash // the image's large layer
	limiter *rate.Limiter

	mu    sync.Mutex
	asked map[string]int // GETs of each blob
}

// newSource starts a registry with one image of the size mirrored, all in memory.
func newSource() (*source, error) {
	s := &source{name: "registry.test", limiter: rate.NewLimiter(rate.Inf, 1<<20), asked: map[string]int{}}
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && r.Method == http.MethodGet {
			s.mu.Lock()
			s.asked[digest]++
			s.mu.Unlock()
		}
		next.ServeHTTP(&paced{w, r.Context(), s.limiter}, r)
	}))
	if err := s.fill(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) fill() error {
	img, err := image.Build(image.Options{Ballast: mirrored})
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	var size int64
	for _, l := range m.Layers {
		if l.Size > size {
			s.layer, size = l.Digest, l.Size
		}
	}
	return image.Push(strings.TrimPrefix(s.server.URL, "http://")+"/"+sourceImage, img, http.DefaultTransport, nil)
}

func (s *source) close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// limit sets what the registry gives to all together, in bytes a second.
func (s *source) limit(bytes float64) { s.limiter.SetLimit(rate.Limit(bytes)) }

func (s *source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.asked)
}

// most is how often the blob that was asked for most was asked for.
func (s *source) most() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, asked := range s.asked {
		n = max(n, asked)
	}
	return n
}

// paced passes content on as fast as the limiter lets it.
type paced struct {
	http.ResponseWriter
	ctx     context.Context
	limiter *rate.Limiter
}

func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *paced) Write(b []byte) (int, error) {
	written := 0
	for part := range slices.Chunk(b, 256<<10) { // the limiter takes no more than a burst at once
		if err := p.limiter.WaitN(p.ctx, len(part)); err != nil {
			return written, err
		}
		n, err := p.ResponseWriter.Write(part)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// proxyOf serves distribution's pull-through cache of a registry.
func proxyOf(ctx context.Context, upstream, dir string) (host string, end func()) {
	conf := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": dir},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}}
	conf.Proxy.RemoteURL = upstream
	conf.Log.AccessLog.Disabled = true
	logrus.SetOutput(io.Discard) // it logs through the global logger
	ctx, cancel := context.WithCancel(ctx)
	app := handlers.NewApp(ctx, conf)
	server := httptest.NewServer(app)
	return strings.TrimPrefix(server.URL, "http://"), func() {
		server.Close()
		_ = app.Shutdown()
		cancel()
	}
}

// pulls has so many clients read all of an image at once.
func pulls(ctx context.Context, at string, clients int) (time.Duration, error) {
	ref, err := name.ParseReference(at, name.Insecure)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range clients {
		group.Go(func() error { return pull(ctx, ref) })
	}
	err = group.Wait()
	return time.Since(begin), err
}

func pull(ctx context.Context, ref name.Reference) error {
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := drain(l); err != nil {
			return err
		}
	}
	return nil
}

func drain(l v1.Layer) error {
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
