// Package alert tells receivers of findings, each once, and keeps what no receiver has acknowledged yet on disk.
//
//	m, err := alert.Open(alert.Options{Path: "/var/lib/dynwatch/alerts.journal", Sinks: []alert.SinkOptions{{Sink: hook}}})
//	m.Add(session, finding) // never blocks on a disk or a receiver
//	err = m.Run(ctx)
//
//	finding → fold (same rule, workload, endpoint, issuer) → rate limit → journal → a queue for each sink → acknowledged → journal
//
// The first finding of its kind is an alert at once; more of the kind within the window are counted, and told as one alert at the window's
// end. Beyond the rate limit findings are counted by rule and told as one alert a minute and rule. So the counts of all alerts add up to the
// number of findings.
//
// An alert is written to disk before it is sent and taken off when the receiver took it, so that kill -9 costs nothing that [Manager.Sync]
// covered, and sends at most what was in flight a second time. Each sink has a queue of its own: one that is down delays no other. When the disk is full alerts are
// sent all the same, from memory, and said to be unsaved; when the queue is full the oldest go, and are counted.
//
// Sinks: Alertmanager (API v2), webhook (JSON, signed), syslog (RFC 5424), journald, OTLP logs over HTTP. Keys and passwords are read from files when
// they are needed, and never stand in a log, an error or the journal. Bytes that came off the wire are made printable before they leave.
package alert
