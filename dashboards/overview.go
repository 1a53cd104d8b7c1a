package dashboards

// What links keep: what is chosen, but for the host, and the host as well.
const (
	kept     = "var-datasource=${datasource}&${cluster:queryparam}&${namespace:queryparam}&${job:queryparam}&${__url_time_range}"
	keptHost = kept + "&${instance:queryparam}"
	cell     = "${__value.text:percentencode}" // what a link was clicked on
)

const findingsPage = "/d/dynwatch-findings?"

// Colours that mean the same on every dashboard.
var (
	verdictColours = []string{"finding", "red", "ok", "green", "unverified", "blue", "incomplete", "yellow"}
	versionColours = []string{
		"TLS 1.3", "dark-green", "TLS 1.2", "light-green", "TLS 1.1", "orange", "TLS 1.0", "red", "SSL 3.0", "dark-red", "SSL 2.0", "dark-red",
		"none", "purple", "unknown", "text",
	}
	// What is critical is red or purple.
	ruleColours = []string{
		"plaintext", "dark-red", "unexpected-issuer", "red", "certificate-replayed", "light-red", "verification-disabled", "purple", "tls-downgrade", "dark-purple",
		"tls-version", "dark-orange", "weak-cipher", "orange", "certificate-invalid", "light-orange", "unexpected-destination", "dark-yellow", "interception-refused", "yellow",
		"issuer-changed", "light-purple", "client-obsolete", "blue", "cleartext-proxy", "light-blue", "tls-capped", "green", "unexpected-region", "light-green",
		"public-endpoint", "dark-green", "other", "text",
	}
)

// overview answers: is anything wrong, where, and how much of it could be seen?
func overview() *dashboard {
	g := new(grid)
	none := limits("green", 1.0, "red") // one is too many
	g.add(4, 4, stat("Findings", "Findings of all hosts in the chosen time, whatever their severity. What is excepted or only observed is not among them.", "locale", none,
		query{`round(sum(increase(dynwatch_findings_total{sel}[$__range])))`, "findings"})).link("Show findings", findingsPage+keptHost)
	g.add(4, 4, stat("Critical findings", "Cleartext, a certificate of somebody else's, a downgrade, or a client that does not verify: act on each.", "locale", none,
		query{`round(sum(increase(dynwatch_findings_total{sel, severity="critical"}[$__range])))`, "critical"})).link("Show findings", findingsPage+keptHost)
	g.add(4, 4, stat("Sessions in cleartext", "DynamoDB sessions over plain HTTP or plain DAX, inside a proxy's tunnel or not.", "locale", none,
		query{`round(sum(increase(dynwatch_sessions_total{sel, transport=~"http|dax|connect\\+http"}[$__range])))`, "sessions"}))
	g.add(4, 4, stat("Sessions", "DynamoDB sessions that were judged in the chosen time. None at all on a host that has clients means that something is not seen.",
		"locale", limits("text"), query{`round(sum(increase(dynwatch_verdicts_total{sel}[$__range])))`, "sessions"}))
	g.add(4, 4, stat("Certificates seen", "In how many of the TLS sessions somebody saw the certificate. TLS 1.3 encrypts it on the wire: without library probes, "+
		"a low share is to be expected, and those sessions are unverified, not ok. What only a probe saw was another connection's and is not counted.", "percentunit", limits("orange", 0.5, "green"),
		query{`sum(increase(dynwatch_certificate_observations_total{sel, seen_by!~"nobody|probe"}[$__range])) / (sum(increase(dynwatch_certificate_observations_total{sel}[$__range])) > 0)`, "seen"}).empty("no TLS sessions"))
	g.add(4, 4, stat("Hosts not watching", "Hosts whose agent can be asked but has no source attached: they see nothing. Hosts that cannot be asked at all are on the agent dashboard.",
		"locale", none, query{`count(max by (instance) (dynwatch_source_up{sel}) == 0) or vector(0)`, "hosts"}).
		link("Show agents", "/d/dynwatch-agent?var-datasource=${datasource}&${__url_time_range}"))

	g.add(12, 8, series("Findings by rule", "New findings, by rule. dynwatch explain RULE says what one means and how to mend it.", "short",
		query{`round(sum by (rule) (increase(dynwatch_findings_total{sel}[$__rate_interval]))) > 0`, "{{rule}}"}).bars().
		colours(ruleColours...).empty("no findings")).link("Show findings", findingsPage+keptHost)
	g.add(12, 8, series("Sessions by verdict", "What was concluded of each session: ok when all that matters was seen and is right, unverified when nobody saw the "+
		"certificate, incomplete when bytes are missing or it began before the agent did.", "cps",
		query{`sum by (verdict) (rate(dynwatch_verdicts_total{sel}[$__rate_interval]))`, "{{verdict}}"}).stacked().colours(verdictColours...))

	g.add(12, 9, table("Hosts with findings", "Where findings were made, the most first.",
		`round(sum by (instance, rule, severity) (increase(dynwatch_findings_total{sel}[$__range]))) > 0`,
		column{field: "instance", title: "host", link: findingsPage + kept + "&var-instance=" + cell, linkTitle: "Findings of this host"},
		column{field: "rule", title: "rule", link: findingsPage + keptHost + "&var-rule=" + cell, linkTitle: "Findings of this rule"},
		column{field: "severity", title: "severity", severity: true, width: 90}, column{field: "Value", title: "findings", unit: "locale", width: 110}).empty("no findings"))
	g.add(12, 9, table("Endpoints", "What the sessions were with: service, kind of endpoint and region. A region that nobody should use, or a kind that the policy forbids, shows here first.",
		`round(sum by (service, kind, region) (increase(dynwatch_endpoint_sessions_total{sel}[$__range]))) > 0`,
		column{field: "region", title: "region"}, column{field: "kind", title: "kind"}, column{field: "service", title: "service"},
		column{field: "Value", title: "sessions", unit: "locale", width: 110}).empty("no sessions"))

	g.add(8, 8, series("Sessions by TLS version", "The version that was agreed on; none is cleartext.", "cps",
		query{`sum by (tls_version) (rate(dynwatch_sessions_total{sel}[$__rate_interval]))`, "{{tls_version}}"}).stacked().colours(versionColours...))
	g.add(8, 8, series("Judgement of certificates", "What the chain of each TLS session leads to. unseen: nobody saw it.", "cps",
		query{`sum by (trust) (rate(dynwatch_certificate_trust_total{sel}[$__rate_interval])) > 0`, "{{trust}}"}).stacked().
		colours("amazon", "dark-green", "allowed", "light-green", "unseen", "blue", "forged", "dark-red", "private", "red", "self-signed", "red", "public", "orange",
			"expired", "orange", "name-mismatch", "orange", "not-yet-valid", "orange", "malformed", "purple").empty("no TLS sessions"))
	g.add(8, 8, series("TLS handshakes, 95 % within", "From a connection's first packet to the end of its handshake, so with TCP's own round trip.", "s",
		query{`histogram_quantile(0.95, sum by (le, tls_version) (rate(dynwatch_tls_handshake_duration_seconds_bucket{sel}[$__rate_interval])))`, "{{tls_version}}"}).exemplars().empty("no TLS handshakes"))
	g.add(12, 8, series("Who saw the certificate", "By whom the certificate of each TLS session was seen: on the wire, by the client's TLS library, in the full handshake that "+
		"a resumed session goes back to, or by nobody. Where it says probe nobody saw it either: the agent was shown one on a connection of its own.", "cps",
		query{`sum by (seen_by) (rate(dynwatch_certificate_observations_total{sel}[$__rate_interval])) > 0`, "{{seen_by}}"}).stacked().
		colours("wire", "dark-green", "library", "light-green", "keylog", "super-light-green", "resumption", "light-blue", "probe", "super-light-blue", "nobody", "blue").empty("no TLS sessions"))
	g.add(12, 8, series("Clients that verify", "Whether the client of each TLS session verifies certificates, as its TLS library tells: open leaves it open, unseen told nothing.", "cps",
		query{`sum by (verifies) (rate(dynwatch_client_verification_total{sel}[$__rate_interval])) > 0`, "{{verifies}}"}).stacked().
		colours("yes", "green", "no", "purple", "open", "yellow", "unseen", "blue").empty("no TLS sessions"))
	return build("dynwatch-overview", "dynwatch / Overview",
		"Connections to Amazon DynamoDB of all hosts: whether their transport can be trusted, and how much of it could be seen.", g)
}
