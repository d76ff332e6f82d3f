package mirror

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// other stands in metrics for the registries that are not in the configuration: clients
// must not be able to make up time series.
const other = "other"

// metrics are the mirror's figures. Sizes are bytes, times seconds.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	sent     prometheus.Counter
	received prometheus.Counter
	latency  *prometheus.HistogramVec
	statuses *prometheus.CounterVec
	inFlight prometheus.Gauge
	stale    prometheus.Counter
}

func newMetrics() *metrics {
	s := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "berth_mirror_requests_total", Help: "Requests, by what was asked for, how it was answered (hit, miss, joined, stale, proxied, error) and status."}, []string{"kind", "result", "status"}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_mirror_sent_bytes_total", Help: "Bytes of content sent to clients."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_mirror_received_bytes_total", Help: "Bytes of content received from registries."}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "berth_mirror_upstream_seconds", Help: "Time until a registry begins to answer.",
			Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"registry"}),
		statuses: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "berth_mirror_upstream_requests_total", Help: "Requests to registries, by method and status; status is error when there was no answer."}, []string{"registry", "method", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "berth_mirror_requests_in_flight", Help: "Requests being answered."}),
		stale:    prometheus.NewCounter(prometheus.CounterOpts{Name: "berth_mirror_stale_total", Help: "Tags answered from what was known, because their registry did not answer."}),
	}
	s.registry.MustRegister(s.requests, s.sent, s.received, s.latency, s.statuses, s.inFlight, s.stale)
	return s
}

// watch adds the figures that are read when they are asked for.
func (s *metrics) watch(m *Mirror) {
	gauge := func(name, help string, f func() float64) {
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "berth_mirror_evicted_bytes_total", Help: "Bytes removed to make room."}, func() float64 { return float64(m.store.Evicted()) }))
	gauge("berth_mirror_stored_bytes", "Bytes of content on disk.", func() float64 { return float64(m.store.Size()) })
	gauge("berth_mirror_downloads_in_flight", "Blobs being fetched.", func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(len(m.downloads))
	})
}

func (s *metrics) handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}

func (s *metrics) upstream(u *upstream, method string, resp *http.Response, err error, took time.Duration) {
	name, status := other, "error"
	if u.configured || u.registry == hub {
		name = u.registry
	}
	if err == nil {
		status = strconv.Itoa(resp.StatusCode)
	}
	s.latency.WithLabelValues(name).Observe(took.Seconds())
	s.statuses.WithLabelValues(name, method, status).Inc()
}
