package rules

import (
	"fmt"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// changeShown is how long after a new authority first certified an endpoint its sessions are still findings. Then it is one of those that
// are usual there: two that take turns would else be told for ever.
const changeShown = 24 * time.Hour

var issuerChangedRule = &Rule{
	ID:       IssuerChanged,
	Title:    "another authority certifies the endpoint than before",
	Severity: session.High,
	Milder:   []session.Severity{session.Medium},
	Citation: "RFC 5280, Section 6 (path validation); internal policy",
	Summary: "An endpoint that showed chains of one authority three times or more now shows a chain of another one, which the policy " +
		"accepts. The authority is whoever the chain's signatures lead to: all of Amazon's roots and intermediates are one, other roots count " +
		"by their organisation. High if Amazon certified the endpoint before, else medium. It holds for sessions within 24 hours of the " +
		"first with the new authority, which is one of the usual ones from then on.",
	Why: "A chain that the policy accepts may still be news: TLS to DynamoDB that ended at Amazon yesterday ends at the company's " +
		"inspection proxy today, or an exemption from it was lost, and nobody decided that.",
	Limits: "A chain that the policy does not accept is unexpected-issuer, every time, and not told here again. TLS 1.3 hides the " +
		"certificate from the wire. What was usual is forgotten after a day without a session, or 30 days where a history is kept on disk.",
	Fix: Remediation{
		Steps: []string{
			"Ask who changed it: a new inspection rule, a proxy that a client was given, a DNS answer that leads elsewhere. The authority, " +
				"the one before it and the time stand in the evidence.",
			"If it was meant, nothing is to be done: the finding ends by itself. If it was not, exempt DynamoDB's names from inspection: " +
				"*.amazonaws.com and *.api.aws.",
			"If only Amazon should ever certify DynamoDB on this host, remove --allow-ca: then it is unexpected-issuer, critical, and does not end.",
		},
		Snippets: trustSnippets,
	},
	Applies: func(in *Input) bool { return in.History != nil && hasTLS(in) && authorityOf(in.Session) != "" },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if !s.Chain.LeadsToAllowed && issuerSeverity(s, in.policy()) == session.Critical {
			return nil // unexpected-issuer says so
		}
		now, before := authorityOf(s), (*Authority)(nil)
		known := in.History.Authorities(s)
		replaced := ""
		for i := range known {
			a := &known[i]
			if a.Name != now {
				continue
			}
			if a.Replaced == "" || s.Start.Sub(a.First) > changeShown {
				return nil
			}
			replaced = a.Replaced
		}
		for i := range known {
			a := &known[i]
			switch {
			case a.Name == now || a.Sessions < baselineSessions || a.First.After(s.Start):
			case replaced != "" && a.Name != replaced:
			case before == nil || a.Last.After(before.Last):
				before = a
			}
		}
		if before == nil {
			return nil
		}
		f := &session.Finding{
			Rule: IssuerChanged, Severity: session.Medium,
			Message: fmt.Sprintf("%s is certified by %s now, and was by %s before, last at %s", peer(s), now, before.Name, stamp(before.Last)),
			Evidence: certificateEvidence(s).text("authority", now).text("previous_authority", before.Name).
				text("previous_last", stamp(before.Last)).number("previous_sessions", before.Sessions),
		}
		if before.Name == amazonAuthority {
			f.Severity = session.High
		}
		return f
	},
}
