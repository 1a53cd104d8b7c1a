package dashboards

// findings answers: what was found, when, on which hosts, and what is not told because somebody said so?
func findings() *dashboard {
	g := new(grid)
	const more = `, rule=~"$rule"`
	bySeverity := func(s string) query {
		return query{`round(sum(increase(dynwatch_findings_total{sel, severity="` + s + `"` + more + `}[$__range])))`, s}
	}
	g.add(8, 5, stat("Findings by severity", "Findings of the chosen rules and hosts in the chosen time.", "locale", limits("green", 1.0, "red"),
		bySeverity("critical"), bySeverity("high"), bySeverity("medium"), bySeverity("low")).named())
	g.add(8, 5, stat("Last finding", "How long ago the latest finding of the chosen rules was made.", "s", limits("text"),
		query{`time() - max(dynwatch_last_finding_timestamp_seconds{sel` + more + `})`, "ago"}).empty("never"))
	g.add(8, 5, stat("Hosts with findings", "On how many hosts findings were made in the chosen time.", "locale", limits("green", 1.0, "red"),
		query{`count(round(sum by (instance) (increase(dynwatch_findings_total{sel` + more + `}[$__range]))) > 0)` + orZero, "hosts"}))

	g.add(24, 8, series("Findings by rule", "New findings, by rule. Which process, pod and endpoint each is about stands in the events and in dynwatch findings on the host.", "short",
		query{`round(sum by (rule) (increase(dynwatch_findings_total{sel` + more + `}[$__rate_interval]))) > 0`, "{{rule}}"}).bars().
		colours(ruleColours...).empty("no findings"))

	g.add(12, 10, table("Findings by host and rule", "Each rule that fired on a host, the most first.",
		`round(sum by (instance, rule, severity) (increase(dynwatch_findings_total{sel`+more+`}[$__range]))) > 0`,
		column{field: "severity", title: "severity", width: 90, severity: true}, column{field: "rule", title: "rule", link: findingsPage + keptHost + "&var-rule=" + cell, linkTitle: "This rule only"},
		column{field: "instance", title: "host", link: findingsPage + kept + "&${rule:queryparam}&var-instance=" + cell, linkTitle: "This host only"},
		column{field: "Value", title: "findings", unit: "locale", width: 100}).empty("no findings"))
	g.add(12, 10, table("Firing alerts", "Alerts of dynwatch's rules that Prometheus holds to be firing now.",
		`max by (alertname, severity, instance, rule) (ALERTS{alertname=~"Dynwatch.*", alertstate="firing", job=~"$job|", instance=~"$instance|"})`,
		column{field: "severity", title: "severity", width: 90, severity: true}, column{field: "alertname", title: "alert", width: 230, link: runbooks + cell + ".md", linkTitle: "What to do"},
		column{field: "instance", title: "host", link: findingsPage + kept + "&var-instance=" + cell, linkTitle: "Findings of this host"},
		column{field: "rule", title: "rule", width: 170}).empty("no alert is firing"))

	g.add(12, 8, series("Findings by host", "The ten hosts with the most findings.", "short",
		query{`topk(10, round(sum by (instance) (increase(dynwatch_findings_total{sel` + more + `}[$__rate_interval]))) > 0)`, "{{instance}}"}).bars().empty("no findings"))
	g.add(12, 8, series("Findings that do not alert", "Findings that were made and not told: excepted by the configuration, made by an agent that only observes, or of a rule that was switched off.", "short",
		query{`round(sum by (rule, reason) (increase(dynwatch_findings_suppressed_total{sel` + more + `}[$__rate_interval]))) > 0`, "{{rule}}: {{reason}}"}).bars().empty("none"))
	return build("dynwatch-findings", "dynwatch / Findings",
		"What is wrong with connections to Amazon DynamoDB, by rule, severity and host.", g,
		labelVariable("rule", "Rule", "dynwatch explain lists them.", `dynwatch_findings_total{instance=~"$instance"}`, ".+"))
}
