package rules

import (
	"fmt"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var certificateInvalidRule = &Rule{
	ID:       CertificateInvalid,
	Title:    "a genuine chain that is not right",
	Severity: session.High,
	Citation: "RFC 5280, Section 6.1.3; RFC 9525 (names); CA/Browser Forum Baseline Requirements, Sections 6.1.5 and 7.1.3 (keys, signatures)",
	Summary: "The chain leads to Amazon or an allowed key, but at the time of the session it was expired or not yet valid, the leaf does not " +
		"bear the name that was asked for or is not meant for servers, or the path rests on a weak key (RSA below 2048) or signature (SHA-1, MD5).",
	Why: "The endpoint is probably the right one or a relative of it, in bad shape or not meant for this client: a wrong name may be " +
		"traffic that was sent to another service. A client that checks refuses it; one that does not check accepts an attacker's too.",
	Limits: "Judged at packet time, so a capture with a wrong clock gives wrong dates; a capture without plausible times is not judged for " +
		"dates. Chains that lead elsewhere are unexpected-issuer, with the same facts in its evidence.",
	Fix: Remediation{
		Steps: []string{
			"Expired or not yet valid: compare the host's clock with the dates in the evidence, then the age of whatever ends TLS there; AWS " +
				"renews its own certificates in time.",
			"Wrong name: look for an endpoint URL with another region or service, an /etc/hosts entry, or a private hosted zone that maps " +
				"DynamoDB's name to an interface endpoint of something else; with PrivateLink use the vpce- name itself.",
			"Weak key or signature: replace the certificate of the allowed CA; Amazon has none of these.",
		},
		Snippets: []Snippet{
			{"boto3 (Django, Flask)", `boto3.client("dynamodb", endpoint_url="https://vpce-….dynamodb.eu-central-1.vpce.amazonaws.com")`},
			{"Any host", `timedatectl status; getent hosts dynamodb.eu-central-1.amazonaws.com; env | grep AWS_ENDPOINT`},
		},
	},
	Applies: func(in *Input) bool { return hasTLS(in) && judged(in.Session) && in.Session.Chain.LeadsToAllowed },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		c := s.Chain
		var faults []string
		if c.Expired {
			faults = append(faults, "expired"+apart(c))
		}
		if c.NotYetValid {
			faults = append(faults, "not yet valid"+apart(c))
		}
		if misnamed(s) {
			faults = append(faults, "not for the name "+peer(s))
		}
		if c.WrongPurpose {
			faults = append(faults, "not meant for TLS servers")
		}
		if c.WeakKey != "" {
			faults = append(faults, "weak key "+c.WeakKey)
		}
		if c.WeakSignature != "" {
			faults = append(faults, "weak signature "+c.WeakSignature)
		}
		if len(faults) == 0 {
			return nil
		}
		return &session.Finding{
			Rule: CertificateInvalid, Severity: session.High,
			Message:  fmt.Sprintf("%s showed a certificate of %s that is %s", peer(s), issuer(s), strings.Join(faults, ", ")),
			Evidence: certificateEvidence(s).list("faults", faults),
		}
	},
}

// apart is how far out of its validity a chain was, for a message.
func apart(c *session.Chain) string {
	if c.OutOfTimeBy <= 0 {
		return ""
	}
	if days := int(c.OutOfTimeBy.Hours() / 24); days > 0 {
		return fmt.Sprintf(" by %d days", days)
	}
	return fmt.Sprintf(" by %s", c.OutOfTimeBy.Round(1e9))
}
