package dashboards

// agent answers: does every agent see what it should, does it lose anything, and what does it cost?
func agent() *dashboard {
	g := new(grid)
	bad := limits("green", 1.0, "red")
	g.add(4, 4, stat("Agents", "Agents that Prometheus can ask.", "locale", limits("text"), query{`count(dynwatch_build_info{sel})`, "agents"}))
	g.add(4, 4, stat("Not answering", "Agents that Prometheus cannot ask, of jobs with dynwatch in their name. Nothing is known of these hosts' connections.", "locale", bad,
		query{`count(up{sel, job=~".*dynwatch.*"} == 0) or 0 * count(up{sel, job=~".*dynwatch.*"})`, "agents"}))
	g.add(4, 4, stat("Without a source", "Agents that run and see nothing. dynwatch doctor on the host says why.", "locale", bad,
		query{`count(max by (instance) (dynwatch_source_up{sel}) == 0)` + orZero, "agents"}))
	g.add(4, 4, stat("Events lost", "Share of what the sources delivered that was lost or cut before a verdict.", "percentunit", limits("green", 0.0001, "orange", 0.01, "red"),
		query{`sum(increase(dynwatch_events_lost_total{sel}[$__range])) / (sum(increase(dynwatch_capture_packets_total{sel}[$__range])) > 0)`, "lost"}).empty("nothing came"))
	g.add(4, 4, stat("Wrong configurations", "Agents whose configuration file is wrong: an earlier state of it is in use.", "locale", bad,
		query{`count(dynwatch_config_last_reload_successful{sel} == 0)` + orZero, "agents"}))
	g.add(4, 4, stat("Only observing", "Agents that record findings and do not alert.", "locale", limits("green", 1.0, "orange"),
		query{`sum(dynwatch_observe_mode{sel})`, "agents"}))

	g.add(12, 8, series("Events lost by reason", "What was lost on the way from the kernel to a verdict. Loss never makes a finding, but it hides some.", "short",
		query{`sum by (stage, reason) (increase(dynwatch_events_lost_total{sel}[$__rate_interval])) > 0`, "{{stage}}: {{reason}}"}).bars().empty("nothing was lost"))
	g.add(12, 8, series("Bytes lost by reason", "Bytes of handshakes that were not seen, or came twice and different.", "bytes",
		query{`sum by (stage, reason) (increase(dynwatch_bytes_lost_total{sel}[$__rate_interval])) > 0`, "{{stage}}: {{reason}}"}).bars().empty("nothing was lost"))

	g.add(14, 9, table("Agents", "Each agent with its version and how long it has run. What is missing here cannot be asked.",
		`max by (instance, version, revision, goos, goarch) (dynwatch_build_info{sel} * on (cluster, namespace, job, instance) group_left () (time() - process_start_time_seconds{sel}))`,
		column{field: "instance", title: "host", link: "/d/dynwatch-agent?" + kept + "&var-instance=" + cell, linkTitle: "This agent only"}, column{field: "version", title: "version"}, column{field: "revision", title: "revision"},
		column{field: "goarch", title: "architecture", width: 110}, column{field: "goos", title: "system", width: 80}, column{field: "Value", title: "runs for", unit: "s", width: 100}).empty("no agent can be asked"))
	g.add(10, 9, series("Agents by source", "How many agents have which source attached. ebpf sees every container; packet one network namespace.", "short",
		query{`sum by (source) (dynwatch_source_up{sel})`, "{{source}}"}).stacked())

	g.add(8, 8, series("Processor", "Processor time of an agent, in cores.", "none",
		query{`sum by (instance) (rate(process_cpu_seconds_total{sel}[$__rate_interval])` + ofAgents + `)`, "{{instance}}"}))
	g.add(8, 8, series("Memory", "Resident memory of an agent.", "bytes",
		query{`max by (instance) (process_resident_memory_bytes{sel}` + ofAgents + `)`, "{{instance}}"}))
	g.add(8, 8, series("Since the loop came round", "How long ago the loop that reads the source last came round, the time since the last scrape included. It grows when the agent hangs.", "s",
		query{`time() - min by (instance) (dynwatch_loop_heartbeat_timestamp_seconds{sel} > 0)`, "{{instance}}"}))

	g.row("Alerts", false)
	g.add(6, 4, stat("Alerts waiting", "Alerts that wait for a receiver, on all hosts. Some seconds are usual; they stay while a receiver is away.", "locale", limits("green", 1.0, "orange"),
		query{`sum(dynwatch_alert_queue_length{sel})`, "alerts"}))
	g.add(6, 4, stat("Oldest alert waiting", "How long the alert that waits longest has waited.", "s", limits("green", 60.0, "orange", 600.0, "red"),
		query{`max(time() - (dynwatch_alert_queue_oldest_timestamp_seconds{sel} > 0))` + orZero, "oldest"}))
	g.add(6, 4, stat("Alerts dropped", "Alerts that a receiver never got: it refused them, or so many waited that the oldest gave way.", "locale", bad,
		query{`round(sum(increase(dynwatch_sink_alerts_total{sel, result="dropped"}[$__range])))` + orZero, "alerts"}))
	g.add(6, 4, stat("Alerts not on disk", "Alerts that wait in memory only, because the disk does not take them: what a crash would cost.", "locale", bad,
		query{`sum(dynwatch_alerts_unsaved{sel})`, "alerts"}))
	g.add(8, 8, series("Alerts by receiver", "Alerts sent and acknowledged; attempts that failed, which are made again; and alerts that were dropped.", "short",
		query{`sum by (sink, result) (increase(dynwatch_sink_alerts_total{sel}[$__rate_interval]))`, "{{sink}}: {{result}}"}).bars().
		colours("/: sent$/", "green", "/: failed$/", "orange", "/: dropped$/", "red").empty("no receivers"))
	g.add(8, 8, series("Alerts waiting, by receiver", "How many alerts wait for each kind of receiver.", "short",
		query{`sum by (sink) (dynwatch_sink_queue_length{sel})`, "{{sink}}"}).empty("no receivers"))
	g.add(8, 8, series("What became of findings", "Told in an alert, folded into one of the same kind, or beyond the rate and told as a sum. All are in the history.", "short",
		query{`sum by (result) (increase(dynwatch_alert_findings_total{sel}[$__rate_interval]))`, "{{result}}"}).bars().
		colours("told", "green", "folded", "blue", "limited", "orange"))

	g.row("Library probes", true)
	g.add(8, 8, stat("Hosts without library probes", "Hosts whose agent has no probes in TLS libraries: the certificates of TLS 1.3 sessions stay unseen there, and who does not verify. "+
		"dynwatch doctor on the host says why.", "locale", limits("green", 1.0, "orange"),
		query{`count(max by (instance) (dynwatch_library_probes_up{sel}) == 0)` + orZero, "hosts"}))
	g.add(8, 8, series("Probes by library", "Probes that are attached, on all hosts. They come with the first process that uses a library, and go with the last.", "short",
		query{`sum by (library) (dynwatch_library_probes{sel})`, "{{library}}"}).stacked())
	g.add(8, 8, series("Without probes, by reason", "Files and processes that should have probes and have not, on all hosts; unsupported, no_rights and broken count hosts that have none at all.", "short",
		query{`sum by (reason) (dynwatch_library_failures{sel})`, "{{reason}}"}).stacked())

	g.add(8, 8, series("Probes of endpoints", "Connections of the agents' own to endpoints whose certificate nobody saw, if the configuration asks for them: answered, failed, dropped because too many waited; "+
		"evicted are answers that made room for others.", "short",
		query{`sum by (result) (increase(dynwatch_endpoint_probes_total{sel}[$__rate_interval]))`, "{{result}}"}).bars())

	g.row("Inside the agents", true)
	g.add(8, 8, series("Delivered by the sources", "Packets, or events of the kernel, that the source handed over.", "pps",
		query{`sum by (instance, source) (rate(dynwatch_capture_packets_total{sel}[$__rate_interval])) > 0`, "{{instance}} {{source}}"}).empty("nothing came"))
	g.add(8, 8, series("Flows being read", "Flows whose beginning is being read now.", "short", query{`max by (instance) (dynwatch_flows_reading{sel})`, "{{instance}}"}))
	g.add(8, 8, series("Memory of flows", "What the flows being read take, as a share of what they may take.", "percentunit",
		query{`max by (instance) (dynwatch_flows_memory_bytes{sel} / dynwatch_flows_memory_limit_bytes{sel})`, "{{instance}}"}))
	g.add(8, 8, series("Fill of caches", "Entries of each bounded memory, as a share of its capacity.", "percentunit",
		query{`max by (cache) (dynwatch_cache_entries{sel} / dynwatch_cache_capacity{sel})`, "{{cache}}"}))
	g.add(8, 8, series("Evictions", "Entries that made room for others.", "short",
		query{`sum by (cache) (increase(dynwatch_cache_evictions_total{sel}[$__rate_interval]))`, "{{cache}}"}).bars())
	g.add(8, 8, series("Look-ups of processes", "How the look-up of a connection's process went; gone is a process that had ended.", "ops",
		query{`sum by (result) (rate(dynwatch_process_lookups_total{sel}[$__rate_interval]))`, "{{result}}"}).stacked())
	g.add(8, 8, series("Streams that could not be read", "By what they began as.", "short",
		query{`sum by (layer) (increase(dynwatch_parse_errors_total{sel}[$__rate_interval]))`, "{{layer}}"}).bars())
	g.add(8, 8, series("Starts and failures", "How often agents were started, and how often a source was opened by one that ran already, could not be opened, or broke off.", "short",
		query{`sum(changes(process_start_time_seconds{sel}[$__rate_interval])` + ofAgents + `)`, "agent started"},
		query{`sum by (source) (increase(dynwatch_source_starts_total{sel}[$__rate_interval]))`, "{{source}} opened"},
		query{`sum by (source) (increase(dynwatch_source_failures_total{sel}[$__rate_interval]))`, "{{source}} failed"}).bars())
	g.add(8, 8, series("Age of AWS's address ranges", "How old the list of address ranges in use is. dynwatch ranges update replaces it.", "s",
		query{`time() - min by (instance) (dynwatch_endpoint_data_timestamp_seconds{sel} > 0)`, "{{instance}}"}))
	g.add(8, 8, series("Goroutines", "They should not grow over days.", "short", query{`max by (instance) (go_goroutines{sel}` + ofAgents + `)`, "{{instance}}"}))
	g.add(8, 8, series("Open files", "They should not grow over days.", "short", query{`max by (instance) (process_open_fds{sel}` + ofAgents + `)`, "{{instance}}"}))
	g.add(8, 8, series("Writes that failed", "Writes to disk of waiting alerts, and of the inventory and findings, that failed. They are tried again.", "short",
		query{`sum(increase(dynwatch_alert_write_errors_total{sel}[$__rate_interval]))`, "alerts"},
		query{`sum(increase(dynwatch_history_write_errors_total{sel}[$__rate_interval]))`, "history"}).bars())
	g.add(8, 8, series("Alerts of removed receivers", "Alerts that waited for a receiver when it was taken out of the configuration, and never went to it: another has them, will get them, or none that is left wants them.",
		"short", query{`sum by (instance) (increase(dynwatch_alerts_orphaned_total{sel}[$__rate_interval]))`, "{{instance}}"}).bars())
	g.add(8, 8, series("Size of the history", "The file with the inventory and the findings.", "bytes",
		query{`max by (instance) (dynwatch_history_file_bytes{sel})`, "{{instance}}"}))
	g.add(8, 8, series("Series that met their cap", "Times that something was counted as other because its metric had as many series as it may.", "short",
		query{`sum by (metric) (increase(dynwatch_series_limited_total{sel}[$__rate_interval])) > 0`, "{{metric}}"}).bars().empty("none"))
	return build("dynwatch-agent", "dynwatch / Agents",
		"Whether the agents see what they should, what they lose, and what they cost.", g)
}
