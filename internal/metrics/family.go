package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Family describes one metric.
type Family struct {
	// Name is the whole name, Type counter, gauge or histogram.
	Name, Type, Help string
	Labels           []Label
	// Most is how many combinations of label values there can be.
	Most int
	// OnRequest: the metric is there only when the operator asked for it.
	OnRequest bool
}

// Label is one label of a metric.
type Label struct {
	Name string
	// Values are all that the label can have; nil where they are not known beforehand.
	Values []string
}

// namespace begins every name.
const namespace = "dynwatch"

// builder registers metrics and notes what they are.
type builder struct {
	reg      *prometheus.Registry
	families []Family
}

// note describes a metric; most is 0 where the label values give it.
func (b *builder) note(kind, name, help string, most int, labels []Label) (names []string) {
	product := 1
	for _, l := range labels {
		names = append(names, l.Name)
		product *= len(l.Values)
	}
	if most == 0 {
		most = product
	}
	b.families = append(b.families, Family{Name: namespace + "_" + name, Type: kind, Help: help, Labels: labels, Most: most})
	return names
}

// counter registers a counter whose every combination of label values is there from the start.
func (b *builder) counter(name, help string, labels ...Label) *prometheus.CounterVec {
	names := b.note("counter", name, help, 0, labels)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, names)
	b.reg.MustRegister(v)
	each(labels, func(values []string) { v.WithLabelValues(values...) })
	return v
}

// lateCounter registers a counter of which at most most combinations come, each when it is first counted.
func (b *builder) lateCounter(name, help string, most int, labels ...Label) *prometheus.CounterVec {
	names := b.note("counter", name, help, most, labels)
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, names)
	b.reg.MustRegister(v)
	return v
}

// gauge registers a gauge; series come when they are first set, one without labels at once.
func (b *builder) gauge(name, help string, labels ...Label) *prometheus.GaugeVec {
	names := b.note("gauge", name, help, 0, labels)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, names)
	b.reg.MustRegister(v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return v
}

func (b *builder) histogram(name, help string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	names := b.note("histogram", name, help, 0, labels)
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		// Native buckets beside the classic ones: Prometheus takes them where it is told to (scrape_native_histograms).
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: 3600e9,
	}, names)
	b.reg.MustRegister(v)
	return v
}

// each calls f with every combination of label values.
func each(labels []Label, f func([]string)) {
	values := make([]string, len(labels))
	var fill func(int)
	fill = func(i int) {
		if i == len(labels) {
			f(values)
			return
		}
		for _, v := range labels[i].Values {
			values[i] = v
			fill(i + 1)
		}
	}
	fill(0)
}
