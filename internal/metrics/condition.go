package metrics

import "time"

// condition registers what tells whether the program is in order.
func (s *Set) condition(source Label) {
	s.sourceUp = s.gauge("source_up", "1 while the source is attached and read, else 0.", source)
	s.sourceStarts = s.counter("source_starts_total", "Times that a source was opened.", source)
	s.sourceFailures = s.counter("source_failures_total", "Times that a source could not be opened, or broke off.", source)
	for _, name := range source.Values {
		s.sourceUp.WithLabelValues(name)
	}
	s.sourceLimits = s.gauge("source_limits", "How many things the source says it can do only in part on this host; dynwatch doctor names them.")
	s.heartbeat = s.gauge("loop_heartbeat_timestamp_seconds", "When the loop that reads the source last came round, Unix time.")
	s.rangesDate = s.gauge("endpoint_data_timestamp_seconds", "The date of AWS's address ranges in use, Unix time.")
	s.observing = s.gauge("observe_mode", "1 when findings are recorded but do not alert, else 0.")
	s.exceptions = s.gauge("config_exceptions", "Exceptions in the configuration; those that have expired no longer apply.", Label{"state", []string{"active", "expired"}})
	s.reloads = s.counter("config_reloads_total", "Times that the configuration was read anew.", Label{"result", []string{"ok", "failed"}})
	s.reloadOK = s.gauge("config_last_reload_successful", "1 if the configuration in use is what its file says, 0 if the file is wrong and an earlier state of it is in use.")
	s.reloadTime = s.gauge("config_last_reload_success_timestamp_seconds", "When the configuration in use was read, Unix time.")
}

// SourceOpened tells that a source is attached; limits is how many things it can do only in part.
func (s *Set) SourceOpened(name string, limits int) {
	if among(sources, name, "") == "" {
		return
	}
	for _, n := range sources {
		s.sourceUp.WithLabelValues(n).Set(0)
	}
	s.sourceUp.WithLabelValues(name).Set(1)
	s.sourceStarts.WithLabelValues(name).Inc()
	s.sourceLimits.WithLabelValues().Set(float64(limits))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = Progress{Host: s.last.Host} // all other counters begin anew; processes are remembered over sources
}

// SourceFailed tells that a source could not be opened, or broke off.
func (s *Set) SourceFailed(name string) {
	if among(sources, name, "") == "" {
		return
	}
	s.sourceUp.WithLabelValues(name).Set(0)
	s.sourceFailures.WithLabelValues(name).Inc()
}

// SourceClosed tells that the source was closed in order.
func (s *Set) SourceClosed() {
	for _, n := range sources {
		s.sourceUp.WithLabelValues(n).Set(0)
	}
}

// Beat tells that the loop came round.
func (s *Set) Beat(now time.Time) { s.heartbeat.WithLabelValues().Set(unix(now)) }

// Ranges tells of what date the address ranges are.
func (s *Set) Ranges(date time.Time) { s.rangesDate.WithLabelValues().Set(unix(date)) }

// Configured tells that a configuration is in use from now on. first is set for the one that the program began with.
func (s *Set) Configured(now time.Time, observe, first bool) {
	if !first {
		s.reloads.WithLabelValues("ok").Inc()
	}
	s.reloadOK.WithLabelValues().Set(1)
	s.reloadTime.WithLabelValues().Set(unix(now))
	s.observing.WithLabelValues().Set(one(observe))
}

// ReloadFailed tells that the configuration's file is wrong, so that an earlier state of it stays in use.
func (s *Set) ReloadFailed() {
	s.reloads.WithLabelValues("failed").Inc()
	s.reloadOK.WithLabelValues().Set(0)
}

// Exceptions tells how many exceptions there are.
func (s *Set) Exceptions(active, expired int) {
	s.exceptions.WithLabelValues("active").Set(float64(active))
	s.exceptions.WithLabelValues("expired").Set(float64(expired))
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// unixOrZero is 0 for no time at all.
func unixOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return unix(t)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
