package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// slowHandshake is from where on a handshake is worth an exemplar, by which its event is found.
const slowHandshake = 250 * time.Millisecond

// Session counts a session that the analysis put out; one that is not DynamoDB's is none of this Set's business. Its findings are counted by
// Finding and Suppressed.
func (s *Set) Session(x *session.Session) {
	if !x.Endpoint.Known() {
		return
	}
	version := versionOf(x)
	s.sessions.WithLabelValues(among(transports, string(x.Transport), string(session.TransportUnknown)), version).Inc()
	if v := string(x.Verdict); among(verdicts, v, "") != "" {
		s.verdicts.WithLabelValues(v).Inc()
	}
	kind := x.Endpoint.Kind
	if kind == "" {
		kind = "unknown"
	}
	s.endpoints.inc(among(services, x.Endpoint.Service, other), among(kinds, kind, other), regionOf(x.Endpoint.Region))
	s.attribution.WithLabelValues(attributionOf(x)).Inc()
	if s.workloadSessions != nil {
		namespace, name := workloadOf(x.Process)
		s.workloadSessions.inc(namespace, name, version)
	}
	if x.TLS == nil {
		return
	}
	if x.Visibility != "" {
		who := "nobody"
		if x.Certificate != nil {
			who = among(seenBy, x.Certificate.SeenBy, other) // a probe saw another connection's
		}
		s.certificates.WithLabelValues(among(visibilities, string(x.Visibility), string(session.VisibilityUnparsable)), who).Inc()
	}
	s.verification.WithLabelValues(verifiesOf(x)).Inc()
	if t := string(x.Trust); among(trusts, t, "") != "" {
		s.trust.WithLabelValues(t).Inc()
	}
	if d := x.TLS.HandshakeDone.Sub(x.Start); !x.TLS.HandshakeDone.IsZero() && !x.Start.IsZero() && !x.Loss.Midstream && d >= 0 {
		h := s.handshakes.WithLabelValues(among(handshakeVersions, version, "older"))
		if d < slowHandshake {
			h.Observe(d.Seconds())
		} else {
			h.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"client": x.Client.String(), "server": x.Server.String()})
		}
	}
}

// Finding counts a finding that is worth an alert, made now. x is nil for one about a DNS answer.
func (s *Set) Finding(x *session.Session, f session.Finding, now time.Time) {
	rule := among(s.ruleIDs, f.Rule, other)
	if f.Severity < session.Low || f.Severity > session.Critical {
		return
	}
	s.findings.inc(rule, f.Severity.String())
	s.lastFinding.WithLabelValues(rule).Set(float64(now.UnixMilli()) / 1000)
	if s.workloadFindings != nil && x != nil {
		namespace, name := workloadOf(x.Process)
		s.workloadFindings.inc(namespace, name, rule)
	}
}

// Weighs tells of a severity that the operator gives a rule's findings: a counter for it is there from now on.
func (s *Set) Weighs(rule string, sev session.Severity) {
	if sev >= session.Low && sev <= session.Critical && among(s.ruleIDs, rule, "") != "" {
		s.findings.ready(rule, sev.String())
	}
}

// verifiesOf is what a session's TLS library told of verification.
func verifiesOf(x *session.Session) string {
	switch {
	case x.TLS.ClientVerifies == session.Yes:
		return "yes"
	case x.TLS.ClientVerifies == session.No:
		return "no"
	case x.Library != nil:
		return "open"
	}
	return "unseen"
}

// Suppressed counts a finding that does not alert, for one of the reasons Suppressed….
func (s *Set) Suppressed(f session.Finding, reason string) {
	s.suppressed.inc(among(s.ruleIDs, f.Rule, other), reason)
}

// DNS counts a DNS answer.
func (s *Set) DNS(*session.DNS) { s.dnsAnswers.WithLabelValues().Inc() }

// workloadOf is what a process belongs to. A pod or container of which only the id is known has no name that would be seen again.
func workloadOf(p *flow.Process) (namespace, name string) {
	w := p.Workload()
	if w.Name == "" || w.Kind == "pod" && p.Pod == "" || w.Kind == "container" && p.ContainerName == "" {
		return "", "unknown"
	}
	return w.Namespace, w.Name
}

// maxRegion is longer than any region's name.
const maxRegion = 32

// regionOf is a region's label value. Names of servers are text of somebody else's: only the form of a region is let through.
func regionOf(region string) string {
	switch {
	case region == "":
		return "unknown"
	case len(region) > maxRegion || strings.Trim(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return other
	}
	return region
}
