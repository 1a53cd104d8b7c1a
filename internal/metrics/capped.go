package metrics

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// capped is a counter some of whose label values come from outside. The first combinations have series of their own, the rest share one.
type capped struct {
	vec     *prometheus.CounterVec
	limited prometheus.Counter
	// rest are the label values of the shared series; what it has kept from the end stays as it is.
	rest []string
	kept int
	max  int

	mu   sync.Mutex
	seen map[string]struct{} // guarded by mu; at most max
}

// capped registers a counter of at most max series and the shared one.
func (b *builder) capped(name, help string, max int, limited *prometheus.CounterVec, labels ...Label) *capped {
	return b.cappedBut(0, name, help, max, limited, labels...)
}

// cappedBut registers one of which the shared series are those of the last labels, kept of them, which stay what they are.
func (b *builder) cappedBut(kept int, name, help string, max int, limited *prometheus.CounterVec, labels ...Label) *capped {
	shared := 1
	for _, l := range labels[len(labels)-kept:] {
		shared *= len(l.Values)
	}
	c := &capped{
		vec: b.lateCounter(name, help, max+shared, labels...), limited: limited.WithLabelValues(namespace + "_" + name),
		kept: kept, max: max, seen: make(map[string]struct{}),
	}
	for range labels {
		c.rest = append(c.rest, other)
	}
	if kept > 0 {
		each(labels[len(labels)-kept:], func(values []string) { c.vec.WithLabelValues(c.share(values)...) })
	}
	return c
}

// share gives the label values of the series that is shared; values are those of the last labels at least.
func (c *capped) share(values []string) []string {
	return append(slices.Clone(c.rest[:len(c.rest)-c.kept]), values[len(values)-c.kept:]...)
}

// ready has a series of its own for label values before anything is counted, unless there are too many.
func (c *capped) ready(values ...string) {
	if c.admit(strings.Join(values, "\x00")) {
		c.vec.WithLabelValues(values...)
	}
}

// inc counts one. Values that are not UTF-8 are made so: the client library panics over them, and they come from outside.
func (c *capped) inc(values ...string) {
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "?")
	}
	if !c.admit(strings.Join(values, "\x00")) {
		c.limited.Inc()
		values = c.share(values)
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
