package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // named below
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sirupsen/logrus"
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

// proxyOf serves distribution's pull-through cache of a registry, to engines too.
func proxyOf(ctx context.Context, upstream, dir string) (port int, end func(), err error) {
	conf := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  configuration.Parameters{"rootdirectory": dir},
		"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
	}}
	conf.Proxy.RemoteURL = upstream
	conf.Log.AccessLog.Disabled = true
	logrus.SetOutput(io.Discard) // it logs through the global logger
	ctx, cancel := context.WithCancel(ctx)
	app := handlers.NewApp(ctx, conf)
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		cancel()
		return 0, nil, err
	}
	server := &http.Server{Handler: app}
	go server.Serve(listener)
	return listener.Addr().(*net.TCPAddr).Port, func() {
		_ = server.Close()
		_ = app.Shutdown()
		cancel()
	}, nil
}
