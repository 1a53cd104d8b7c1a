package dashboards

// workload answers: which deployments, units and programs use DynamoDB, and how?
func workload() *dashboard {
	g := new(grid)
	const none = "no workload series: set metrics.workloads in the agent's configuration"
	const more = `, workload_namespace=~"$workload_namespace", workload=~"$workload"`
	const counted = `sum(increase(dynwatch_workload_sessions_total{sel}[$__range]))` // none where agents do not count by workload
	g.add(8, 4, stat("Workloads", "Deployments, containers, units and programs that had sessions with DynamoDB in the chosen time.", "locale", limits("text"),
		query{`count(sum by (workload_namespace, workload) (increase(dynwatch_workload_sessions_total{sel` + more + `}[$__range])) > 0)`, "workloads"}).empty(none))
	g.add(8, 4, stat("Workloads with findings", "How many of them had findings in the chosen time.", "locale", limits("green", 1.0, "red"),
		query{`count(round(sum by (workload_namespace, workload) (increase(dynwatch_workload_findings_total{sel` + more + `}[$__range]))) > 0) or 0 * ` + counted, "workloads"}).empty(none))
	g.add(8, 4, stat("Beyond the cap", "Sessions and findings of workloads that have no series of their own, because the cap of series was reached: they are counted as other.", "locale", limits("green", 1.0, "orange"),
		query{`sum(increase(dynwatch_series_limited_total{sel, metric=~"dynwatch_workload_.*"}[$__range])) or 0 * ` + counted, "counted as other"}).empty(none))

	page := "/d/dynwatch-workloads?" + keptHost + "&var-workload_namespace=${__data.fields.namespace:percentencode}&var-workload=" + cell
	g.add(12, 10, table("Findings by workload", "Which workload made which finding, the most first.",
		`round(sum by (workload_namespace, workload, rule) (increase(dynwatch_workload_findings_total{sel`+more+`}[$__range]))) > 0`,
		column{field: "workload_namespace", title: "namespace", width: 130}, column{field: "workload", title: "workload", link: page, linkTitle: "This workload only"},
		column{field: "rule", title: "rule", width: 190}, column{field: "Value", title: "findings", unit: "locale", width: 100}).empty("no findings, or no workload series"))
	g.add(12, 10, table("Sessions by workload", "How many sessions each workload had, by the TLS version agreed on; none is cleartext.",
		`round(sum by (workload_namespace, workload, tls_version) (increase(dynwatch_workload_sessions_total{sel`+more+`}[$__range]))) > 0`,
		column{field: "workload_namespace", title: "namespace", width: 130}, column{field: "workload", title: "workload", link: page, linkTitle: "This workload only"},
		column{field: "tls_version", title: "TLS version", width: 110}, column{field: "Value", title: "sessions", unit: "locale", width: 100}).empty(none))

	g.add(12, 8, series("Sessions by workload", "The ten workloads with the most sessions.", "cps",
		query{`topk(10, sum by (workload_namespace, workload) (rate(dynwatch_workload_sessions_total{sel` + more + `}[$__rate_interval])))`, "{{workload_namespace}} {{workload}}"}).stacked().empty(none))
	g.add(12, 8, series("Sessions by TLS version", "Of the chosen workloads; none is cleartext.", "cps",
		query{`sum by (tls_version) (rate(dynwatch_workload_sessions_total{sel` + more + `}[$__rate_interval]))`, "{{tls_version}}"}).stacked().colours(versionColours...).empty(none))
	g.add(24, 8, series("Sessions by how closely their process is known", "Whether a session could be traced to a pod, a container, a unit or a process; none means that its process had "+
		"ended or was never seen. This needs no workload series.", "cps",
		query{`sum by (result) (rate(dynwatch_attribution_total{sel}[$__rate_interval]))`, "{{result}}"}).stacked().
		colours("pod", "dark-green", "container", "light-green", "unit", "blue", "process", "yellow", "none", "red"))
	return build("dynwatch-workloads", "dynwatch / Workloads",
		"Who uses Amazon DynamoDB, and over which transport. Needs workload series, which an agent exports when its configuration asks for them.", g,
		labelVariable("workload_namespace", "Workload's namespace", "", `dynwatch_workload_sessions_total{instance=~"$instance"}`, ".*"),
		labelVariable("workload", "Workload", "", `dynwatch_workload_sessions_total{instance=~"$instance", workload_namespace=~"$workload_namespace"}`, ".+"))
}
