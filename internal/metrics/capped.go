package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// capped is a counter some of whose label values come from outside. The first combinations have series of their own, the rest share one.
type capped struct {
	vec     *prometheus.CounterVec
	limited prometheus.Counter
	// rest are the label values of the shared series.
	rest []string
	max  int

	mu   sync.Mutex
	seen map[string]struct{} // guarded by mu; at most max
}

// capped registers a counter of at most max series and the shared one.
func (b *builder) capped(name, help string, max int, limited *prometheus.CounterVec, labels ...Label) *capped {
	c := &capped{
		vec: b.lateCounter(name, help, max+1, labels...), limited: limited.WithLabelValues(namespace + "_" + name),
		max: max, seen: make(map[string]struct{}),
	}
	for range labels {
		c.rest = append(c.rest, other)
	}
	return c
}

// inc counts one.
func (c *capped) inc(values ...string) {
	if !c.admit(strings.Join(values, "\x00")) {
		c.limited.Inc()
		values = c.rest
	}
	c.vec.WithLabelValues(values...).Inc()
}

func (c *capped) admit(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.seen[key]; ok {
		return true
	}
	if len(c.seen) >= c.max {
		return false
	}
	c.seen[key] = struct{}{}
	return true
}
