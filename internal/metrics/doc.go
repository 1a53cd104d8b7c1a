// Package metrics is what a running dynwatch tells Prometheus: one Set, with a registry of its own.
//
//	m := metrics.New(metrics.Options{Build: metrics.ReadBuild(version)})
//	m.Session(s)                      // for every session that the analysis puts out
//	m.Finding(s, f)                   // for every finding that is not suppressed
//	m.Update(metrics.Progress{…})     // from time to time: the counters of the stages
//	promhttp.HandlerFor(m.Registry(), promhttp.HandlerOpts{})
//
// Labels have values from closed sets: no address, port, process id, pod or server name is ever one. Where a set is not known beforehand (the
// region, and the workload where the operator asks for it) its size is capped, and what comes beyond the cap is counted with the value
// "other" and in dynwatch_series_limited_total. Whatever is sent to a host, a Set has at most MaxSeries series, and MaxWorkloadSeries more
// with workloads. Counters that somebody may alert on are there from the start, with the value 0: increase() does not see the step from
// absence to 1.
//
// Set.Families describes each metric with its labels and their values; docs/metrics.md is written from it, and what dashboards and rules
// name can be held to it.
//
// A Set's methods may be called by any goroutine.
package metrics
