package metrics

import (
	"regexp"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/alert"
	"github.com/dynwatch/dynwatch/internal/history"
)

// Bounds of a Set, Go's own and the process's metrics included.
const (
	MaxSeries         = 300
	MaxWorkloadSeries = maxWorkloadSessions + maxWorkloadFindings + 4 // the shared series, and two of series_limited

	maxEndpoints        = 8
	maxSuppressed       = 8
	maxFindings         = 40 // the severities that rules have by themselves, and some that operators give them
	maxWorkloadSessions = 200
	maxWorkloadFindings = 100
)

// Build says what program this is.
type Build struct{ Version, Revision, Go, OS, Arch string }

// ReadBuild completes a version with what the toolchain wrote into the program.
func ReadBuild(version string) Build {
	b := Build{Version: version, Revision: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "GOOS":
			b.OS = s.Value
		case "GOARCH":
			b.Arch = s.Value
		}
	}
	return b
}

// Options are what a Set is made with.
type Options struct {
	Build Build
	// Workloads counts sessions and findings also by workload: at most MaxWorkloadSeries more series.
	Workloads bool
}

// Set is all metrics of one process.
type Set struct {
	builder
	ruleIDs []string

	sessions, verdicts                               *prometheus.CounterVec
	certificates, trust, attribution, verification   *prometheus.CounterVec
	endpoints, suppressed, findings                  *capped
	workloadSessions, workloadFindings               *capped
	lastFinding                                      *prometheus.GaugeVec
	handshakes                                       *prometheus.HistogramVec
	dnsAnswers                                       *prometheus.CounterVec
	packets, bytes, eventsLost, bytesLost            *prometheus.CounterVec
	flows, halfOpen, parseErrors, evictions, lookups *prometheus.CounterVec
	reading, memory, memoryLimit, buffered           *prometheus.GaugeVec
	cacheEntries, cacheCapacity                      *prometheus.GaugeVec
	sourceUp, sourceLimits, heartbeat, rangesDate    *prometheus.GaugeVec
	sourceStarts, sourceFailures                     *prometheus.CounterVec
	observing, exceptions, reloadOK, reloadTime      *prometheus.GaugeVec
	reloads, historyErrors                           *prometheus.CounterVec
	historyBytes                                     *prometheus.GaugeVec
	alerts, sinkAlerts, alertsOrphaned               *prometheus.CounterVec
	sinkQueue, alertQueue                            *prometheus.GaugeVec
	alertsUnsaved, alertOldest                       *prometheus.GaugeVec
	alertWriteErrors                                 *prometheus.CounterVec

	libraryUp, libraryProbes, libraryFailures *prometheus.GaugeVec
	endpointProbes                            *prometheus.CounterVec

	mu      sync.Mutex
	last    Progress      // guarded by mu: what Update added up to
	library Library       // guarded by mu: what Library added up to
	history history.Stats // guarded by mu: what History added up to
	alerted alert.Stats   // guarded by mu: what Alerts added up to
	probed  Probes        // guarded by mu: what Probes added up to
}

// New returns a Set whose counters are 0.
func New(o Options) *Set {
	s := &Set{builder: builder{reg: prometheus.NewRegistry()}, ruleIDs: ruleIDs()}
	rule := Label{"rule", s.ruleIDs}
	severity := Label{"severity", severities}
	source := Label{"source", sources}

	s.gaugeOne("build_info", "1, labelled with what this program is.",
		[]string{"version", "revision", "goversion", "goos", "goarch"}, o.Build.Version, o.Build.Revision, o.Build.Go, o.Build.OS, o.Build.Arch)

	s.sessions = s.lateCounter("sessions_total", "DynamoDB sessions, by how they travel. tls_version is none without TLS, unknown where the ServerHello was not seen.",
		20, Label{"transport", transports}, Label{"tls_version", versions})
	for _, first := range [][2]string{
		{string(session.TransportTLS), "TLS 1.2"}, {string(session.TransportTLS), "TLS 1.3"}, {string(session.TransportHTTP), "none"},
	} {
		s.sessions.WithLabelValues(first[0], first[1])
	}
	s.verdicts = s.counter("verdicts_total", "DynamoDB sessions, by what was concluded.", Label{"verdict", verdicts})
	limited := s.lateCounter("series_limited_total", "Times that something was counted with the label value other, because the metric had reached its number of series.",
		5, Label{"metric", nil})
	s.endpoints = s.capped("endpoint_sessions_total", "DynamoDB sessions, by the endpoint that they are with.", maxEndpoints, limited,
		Label{"service", services}, Label{"kind", kinds}, Label{"region", nil})
	s.findings = s.cappedBut(1, "findings_total", "Findings that are worth an alert, by rule and severity; what is suppressed is not among them.", maxFindings, limited, rule, severity)
	for _, r := range rules.All() {
		for _, sev := range append([]session.Severity{r.Severity}, r.Milder...) {
			s.findings.ready(r.ID, sev.String())
		}
	}
	s.suppressed = s.capped("findings_suppressed_total", "Findings that do not alert, and why: an exception of the operator's, the observe mode, or a rule whose severity was set to none.",
		maxSuppressed, limited, rule, Label{"reason", reasons})
	s.lastFinding = s.gauge("last_finding_timestamp_seconds", "When the latest finding of a rule was made, Unix time; absent before the first.", rule)
	s.certificates = s.lateCounter("certificate_observations_total", "TLS sessions with DynamoDB, by whether the certificate could be seen, and by whom.",
		16, Label{"visibility", visibilities}, Label{"seen_by", seenBy})
	for _, v := range visibilities {
		who := "nobody"
		switch v {
		case string(session.VisibilityVisible):
			who = "wire"
		case string(session.VisibilityDecrypted):
			who = "keylog"
		}
		s.certificates.WithLabelValues(v, who)
	}
	s.certificates.WithLabelValues(string(session.VisibilityEncrypted), "library")
	s.trust = s.counter("certificate_trust_total", "TLS sessions with DynamoDB, by the judgement of the certificate chain.", Label{"trust", trusts})
	s.verification = s.counter("client_verification_total", "TLS sessions with DynamoDB, by whether the client verifies certificates, as its TLS library tells: open is one that leaves it open, unseen one that told nothing.",
		Label{"verifies", verifications})
	s.attribution = s.counter("attribution_total", "DynamoDB sessions, by how closely their process is known.", Label{"result", attributions})
	s.handshakes = s.histogram("tls_handshake_duration_seconds", "From a connection's first packet to the end of its TLS handshake, so with TCP's own; older is every version before TLS 1.3.",
		[]float64{.01, .025, .05, .1, .25, 1}, Label{"tls_version", handshakeVersions})
	s.dnsAnswers = s.counter("dns_answers_total", "DNS answers about names of DynamoDB.")
	if o.Workloads {
		before := len(s.families)
		s.workloadSessions = s.capped("workload_sessions_total", "DynamoDB sessions by workload: a pod's controller, a container, a unit or a program.",
			maxWorkloadSessions, limited, Label{"workload_namespace", nil}, Label{"workload", nil}, Label{"tls_version", versions})
		s.workloadFindings = s.capped("workload_findings_total", "Findings that are worth an alert, by workload.",
			maxWorkloadFindings, limited, Label{"workload_namespace", nil}, Label{"workload", nil}, rule)
		for i := before; i < len(s.families); i++ {
			s.families[i].OnRequest = true
		}
	}
	s.stages(source)
	s.condition(source)
	s.libraries()
	s.endpointProbes = s.counter("endpoint_probes_total", "Connections of the agent's own to endpoints whose certificate nobody saw, if the configuration asks for them: answered, or failed to show a certificate; "+
		"dropped, because too many waited, each time that one was wanted; evicted, answers that made room for others.", Label{"result", probeResults})
	s.sinks()

	s.reg.MustRegister(
		// Go's memory is thirty series that say little more than the process's resident memory.
		collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(), collectors.WithoutGoCollectorRuntimeMetrics(
			regexp.MustCompile(`^(/gc/gogc:percent|/sched/gomaxprocs:threads)$`))), // what somebody set, or the machine has
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return s
}

// gaugeOne registers a gauge that is 1, for what its labels say.
func (b *builder) gaugeOne(name, help string, labels []string, values ...string) {
	var noted []Label
	for _, l := range labels {
		noted = append(noted, Label{Name: l})
	}
	b.note("gauge", name, help, 1, noted)
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	b.reg.MustRegister(v)
	v.WithLabelValues(values...).Set(1)
}

// Registry is where the metrics are gathered from, and where other parts of the program may register theirs.
func (s *Set) Registry() *prometheus.Registry { return s.reg }

// Families describes the metrics, in the order of their documentation; Go's and the process's are not among them.
func (s *Set) Families() []Family { return slices.Clone(s.families) }
