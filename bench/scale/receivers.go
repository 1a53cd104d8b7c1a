package scale

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"
)

// Count is what arrived at a receiver, of the nodes that were computed.
type Count struct {
	Requests, Units, Bytes int
	minutes                map[int64]*Count
}

// add counts a request with alerts, records or lines in it.
func (c *Count) add(units, bytes int) {
	c.count(units, bytes)
	if c.minutes == nil {
		c.minutes = make(map[int64]*Count)
	}
	minute := time.Now().Unix() / 60
	if c.minutes[minute] == nil {
		c.minutes[minute] = new(Count)
	}
	c.minutes[minute].count(units, bytes)
}

func (c *Count) count(units, bytes int) {
	c.Requests++
	c.Units += units
	c.Bytes += bytes
}

// peak has the most of each that came in a minute.
func (c *Count) peak() (most Count) {
	for _, m := range c.minutes {
		most.Requests, most.Units, most.Bytes = max(most.Requests, m.Requests), max(most.Units, m.Units), max(most.Bytes, m.Bytes)
	}
	return most
}

// receivers are an Alertmanager, a collector and a log, in memory.
type receivers struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}

	mu           sync.Mutex // guards what follows
	alertmanager Count
	otlp         Count
	log          Count
	ends         map[string]time.Time // of alerts, by their labels
	seen         []map[string]string  // labels of each alert that ever was
	active       int                  // the most alerts at a time
}

func newReceivers() *receivers {
	return &receivers{conns: make(chan net.Conn), done: make(chan struct{}), ends: make(map[string]time.Time)}
}

// Dial is for alert.HTTPOptions: it connects to the receivers, whatever the address.
func (r *receivers) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case r.conns <- server:
		return client, nil
	case <-r.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr are a listener.
func (r *receivers) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

func (r *receivers) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

func (r *receivers) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasSuffix(req.URL.Path, "/v1/logs") {
		var logs collector.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &logs); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.otlp.add(len(logs.ResourceLogs[0].ScopeLogs[0].LogRecords), len(body))
		return
	}
	var alerts []struct {
		Labels json.RawMessage `json:"labels"` // their names in order, so the same text for the same alert
		EndsAt time.Time       `json:"endsAt"`
	}
	if err := json.Unmarshal(body, &alerts); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.alertmanager.add(len(alerts), len(body))
	for _, a := range alerts {
		key := string(a.Labels)
		if _, ok := r.ends[key]; !ok {
			var labels map[string]string
			if err := json.Unmarshal(a.Labels, &labels); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.seen = append(r.seen, labels)
		}
		r.ends[key] = a.EndsAt
	}
}

// look notes how many alerts are firing now.
func (r *receivers) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, n := time.Now(), 0
	for _, end := range r.ends {
		if end.After(now) {
			n++
		}
	}
	r.active = max(r.active, n)
}

// groups is how many notifications there would be if Alertmanager grouped by labels.
func (r *receivers) groups(by ...string) int {
	found := make(map[string]bool)
	for _, labels := range r.seen {
		key := ""
		for _, name := range by {
			key += labels[name] + "\x00"
		}
		found[key] = true
	}
	return len(found)
}

// Write is the log of the agents: it counts lines.
func (r *receivers) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log.add(1, len(p))
	return len(p), nil
}
