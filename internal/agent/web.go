package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"

	"github.com/dynwatch/dynwatch/internal/metrics"
)

// Bounds of the web server.
const (
	maxConnections = 64
	maxScrapes     = 4
	stopWithin     = 3 * time.Second
)

// routes are the pages of the agent; page answers what no other does, nil is a list of them.
func routes(m *metrics.Set, h *health, page http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry(), promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes, Timeout: 10 * time.Second,
	}))
	mux.Handle("GET /livez", answer(h.live, func() string { return "" }))
	mux.Handle("GET /readyz", answer(h.ready, h.notes))
	if page != nil {
		mux.Handle("/", page)
		return mux
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "dynwatch agent\n\n/metrics\n/livez\n/readyz\n")
	})
	return mux
}

// serve answers on l until ctx ends. configFile is exporter-toolkit's, for TLS and passwords; "" is plain HTTP for everybody who can connect.
func serve(ctx context.Context, l net.Listener, handler http.Handler, configFile string, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		within, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if err := server.Shutdown(within); err != nil {
			server.Close()
		}
	})
	systemd := false
	err := web.Serve(netutil.LimitListener(l, maxConnections), server, &web.FlagConfig{WebSystemdSocket: &systemd, WebConfigFile: &configFile}, log)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}

// CheckWeb says what is wrong with exporter-toolkit's file; "" is none.
func CheckWeb(configFile string) error {
	if configFile == "" {
		return nil
	}
	return web.Validate(configFile)
}
