package metrics

import "github.com/dynwatch/dynwatch/internal/alert"

// sinks registers what Alerts fills. The label sink is the kind of a receiver: its name is the operator's.
func (s *Set) sinks() {
	sink := Label{"sink", []string{"alertmanager", "webhook", "syslog", "journal", "otlp"}}
	s.alerts = s.counter("alert_findings_total", "Findings that went to the alerts: told at once or later, folded into an alert of the same kind, or beyond the rate and told as a sum.",
		Label{"result", []string{"told", "folded", "limited"}})
	s.alertQueue = s.gauge("alert_queue_length", "Alerts that wait for a receiver; beyond 10,000 the oldest give way.")
	s.alertOldest = s.gauge("alert_queue_oldest_timestamp_seconds", "When the oldest alert that waits was made, Unix time; 0 if none waits.")
	s.alertsUnsaved = s.gauge("alerts_unsaved", "Alerts that wait and are not on disk: what a crash would cost.")
	s.alertWriteErrors = s.counter("alert_write_errors_total", "Writes of waiting alerts to disk that failed; they are tried again.")
	s.alertsOrphaned = s.counter("alerts_orphaned_total", "Alerts that waited for a receiver when it was taken out of the configuration, and were dropped for it: another has them, will get them, or none that is left wants them.")
	s.sinkAlerts = s.lateCounter("sink_alerts_total", "Alerts by kind of receiver: sent and acknowledged; failed attempts, which are made again; dropped, because the receiver refused them or the queue was full.",
		0, sink, Label{"result", []string{"sent", "failed", "dropped"}})
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
	told := func(x *alert.Stats) uint64 { return x.Findings - min(x.Findings, x.Folded+x.Limited) }
	s.alerts.WithLabelValues("told").Add(grown(told(&a), told(&was)))
	s.alertQueue.WithLabelValues().Set(float64(a.Queued))
	s.alertOldest.WithLabelValues().Set(unixOrZero(a.Oldest))
	s.alertsUnsaved.WithLabelValues().Set(float64(a.Unsaved))
	s.alertWriteErrors.WithLabelValues().Add(grown(a.WriteErrors, was.WriteErrors))
	s.alertsOrphaned.WithLabelValues().Add(grown(a.Orphaned, was.Orphaned))
	// Receivers come and go: what one has counted is compared with what the same one had.
	before, waiting := make(map[string]alert.SinkStats), make(map[string]int)
	for _, x := range was.Sinks {
		before[x.Name] = x
		waiting[x.Kind] = 0
	}
	for _, x := range a.Sinks {
		b := before[x.Name]
		s.sinkAlerts.WithLabelValues(x.Kind, "sent").Add(grown(x.Sent, b.Sent))
		s.sinkAlerts.WithLabelValues(x.Kind, "failed").Add(grown(x.Failed, b.Failed))
		s.sinkAlerts.WithLabelValues(x.Kind, "dropped").Add(grown(x.Refused+x.Dropped, b.Refused+b.Dropped))
		waiting[x.Kind] += x.Queued
	}
	for kind, n := range waiting {
		s.sinkQueue.WithLabelValues(kind).Set(float64(n))
	}
}
