package metrics

import "github.com/dynwatch/dynwatch/internal/alert"

// sinks registers what Alerts fills. The label sink is the kind of a receiver: its name is the operator's.
func (s *Set) sinks() {
	sink := Label{"sink", []string{"alertmanager", "webhook", "syslog", "journal", "otlp"}}
	s.alerts = s.counter("alert_findings_total", "Findings that went to the alerts: told at once or later, folded into an alert of the same kind, or beyond the rate and told as a sum.",
		Label{"result", []string{"told", "folded", "limited"}})
	s.alertQueue = s.gauge("alert_queue_length", "Alerts that wait for a receiver.")
	s.alertCapacity = s.gauge("alert_queue_capacity", "Alerts that can wait; then the oldest give way.")
	s.alertsUnsaved = s.gauge("alerts_unsaved", "Alerts that wait and are not on disk: what a crash would cost.")
	s.alertWriteErrors = s.counter("alert_write_errors_total", "Writes of waiting alerts to disk that failed; they are tried again.")
	s.sinkAlerts = s.lateCounter("sink_alerts_total", "Alerts by kind of receiver: sent and acknowledged; failed attempts, which are made again; dropped, because the receiver refused them or the queue was full.",
		maxSinks*3, sink, Label{"result", []string{"sent", "failed", "dropped"}})
	s.sinkQueue = s.gauge("sink_queue_length", "Alerts that wait for a kind of receiver.", sink)
}

// Alerts shows how alerts are doing.
func (s *Set) Alerts(a alert.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.alerted
	s.alerted = a
	s.alerts.WithLabelValues("folded").Add(grown(a.Folded, was.Folded))
	s.alerts.WithLabelValues("limited").Add(grown(a.Limited, was.Limited))
	told := func(x *alert.Stats) uint64 { return x.Findings - min(x.Findings, x.Folded+x.Limited+x.Unusable) }
	s.alerts.WithLabelValues("told").Add(grown(told(&a), told(&was)))
	s.alertQueue.WithLabelValues().Set(float64(a.Queued))
	s.alertCapacity.WithLabelValues().Set(float64(a.MaxQueued))
	s.alertsUnsaved.WithLabelValues().Set(float64(a.Unsaved))
	s.alertWriteErrors.WithLabelValues().Add(grown(a.WriteErrors, was.WriteErrors))
	queued := map[string]int{}
	for i, x := range a.Sinks {
		var before alert.SinkStats
		if i < len(was.Sinks) {
			before = was.Sinks[i] // receivers are fixed when the program begins
		}
		s.sinkAlerts.WithLabelValues(x.Kind, "sent").Add(grown(x.Sent, before.Sent))
		s.sinkAlerts.WithLabelValues(x.Kind, "failed").Add(grown(x.Failed, before.Failed))
		s.sinkAlerts.WithLabelValues(x.Kind, "dropped").Add(grown(x.Refused+x.Dropped, before.Refused+before.Dropped))
		queued[x.Kind] += x.Queued
	}
	for kind, n := range queued {
		s.sinkQueue.WithLabelValues(kind).Set(float64(n))
	}
}
