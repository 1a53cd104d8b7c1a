package rules

import (
	"fmt"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var unexpectedIssuerRule = &Rule{
	ID:       UnexpectedIssuer,
	Title:    "the certificate does not lead to Amazon or an allowed CA",
	Severity: session.Critical,
	Milder:   []session.Severity{session.Medium},
	Citation: "RFC 5280, Section 6 (path validation); Amazon Trust Services repository (five roots)",
	Summary: "A whole chain was seen, and no path of valid signatures, dates and names left aside, leads from its leaf to an Amazon Trust " +
		"Services root, to a CA given with --allow-ca, or to a --pin. Names are never enough: a certificate that says CN=Amazon RSA 2048 " +
		"M01 and is not signed by that key is forged. A genuine chain that expired or bears another name is certificate-invalid only.",
	Why: "Somebody between client and DynamoDB ends TLS and reads everything: requests, credentials' signatures and tokens, items. It " +
		"may be the company's inspection proxy, a test server, or an attacker; the certificate alone cannot tell which.",
	Limits: "TLS 1.3 hides the certificate: without a key log, the client's library or a probe the session is unverified, not ok. Medium in " +
		"two cases where the truth is not known. A signature algorithm on the path cannot be checked here. Or the endpoint is in a " +
		"partition whose CA AWS does not publish: aws-cn with a chain to a public root, aws-iso* with any chain that is not self-signed, " +
		"broken or an imitation of Amazon's; once --allow-ca or --pin names the right issuer there, anything else is critical too.",
	Fix: Remediation{
		Steps: []string{
			"Ask whose CA it is: the issuer, the root and, where a product is known by its name, the interceptor stand in the evidence.",
			"If it is the company's inspection: exempt *.amazonaws.com and *.api.aws in the proxy; or " +
				" accept it, tell dynwatch with --allow-ca FILE, and give the CA to the clients as below, never by switching " +
				"verification off.",
			"If nobody knows it: cut the host off, find what redirects its traffic (DNS, /etc/hosts, routes, proxy settings, " +
				"AWS_ENDPOINT_URL), and rotate every credential that it used.",
			"Do not pin leaves or intermediates: Amazon changes them without notice. If you must pin, pin the roots' keys.",
		},
		Snippets: trustSnippets,
	},
	Applies: func(in *Input) bool { return hasTLS(in) && judged(in.Session) },
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if s.Chain.LeadsToAllowed {
			return nil
		}
		kind, what := describeChain(s)
		f := &session.Finding{
			Rule: UnexpectedIssuer, Severity: issuerSeverity(s, in.policy()),
			Message:  fmt.Sprintf("%s showed %s", peer(s), what),
			Evidence: certificateEvidence(s).text("kind", kind).text("unsupported", s.Chain.Unsupported).text("violation", s.Chain.Violation),
		}
		if f.Severity < session.Critical && s.Chain.Unsupported == "" {
			f.Message += "; the CA for partition " + s.Endpoint.Partition + " is not published, name it with --allow-ca"
		}
		if s.Loss.ConflictBytes[session.Server] != 0 {
			f.Evidence["conflict_bytes"] = s.Loss.ConflictBytes[session.Server]
		}
		return f
	},
}

// describeChain puts a chain that leads to no allowed key into a word for evidence and words for a message.
func describeChain(s *session.Session) (kind, what string) {
	c := s.Chain
	by := ""
	if c.Interceptor != "" {
		by = ", which looks like " + c.Interceptor
	}
	switch {
	case c.Malformed:
		return "malformed", "a certificate that is malformed, issued by " + issuer(s) + by
	case c.ExplicitCurve:
		return "forged", "a chain that rests on a key with curve parameters of its own (CVE-2020-0601), issued by " + issuer(s)
	case c.Violation != "":
		return "violation", "a chain that no client may accept (" + c.Violation + "), issued by " + issuer(s)
	case c.AmazonNamed && c.Disproved:
		return "forged", "a forged certificate: it bears the name of " + issuer(s) + ", whose key did not sign it"
	case c.Unsupported != "" && !c.Disproved && !c.SelfSigned:
		return "unsupported", "a certificate issued by " + issuer(s) + ", which could not be checked: " + c.Unsupported + " is not supported here"
	case c.SelfSigned:
		return "self-signed", "a self-signed certificate, " + issuer(s) + by
	case c.LeadsToPublic:
		root := c.Root
		if root == "" {
			root = issuer(s)
		}
		return "public", "a certificate issued by " + issuer(s) + " under the public root " + root + ", not Amazon's" + by
	case c.AmazonNamed && c.Incomplete:
		return "incomplete", "a certificate that claims the issuer " + issuer(s) + " without the proof: " + missing(c) + " was not sent"
	case c.AmazonNamed:
		return "forged", "a certificate that claims the issuer " + issuer(s) + ", but no signature leads to a key of Amazon's"
	case c.Incomplete:
		return "incomplete", "a certificate issued by " + issuer(s) + by + ", whose path stops: " + missing(c) + " was not sent and is unknown"
	}
	return "private", "a certificate issued by " + issuer(s) + by + ", a CA that is neither Amazon's nor allowed"
}

func missing(c *session.Chain) string {
	if c.MissingIssuer != "" {
		return c.MissingIssuer
	}
	return "an issuer"
}

// issuerSeverity is critical but for what nobody outside can know.
func issuerSeverity(s *session.Session, p *Policy) session.Severity {
	c := s.Chain
	imitation := c.Disproved || c.BrokenSignature || c.Malformed || c.ExplicitCurve || c.Violation != "" || c.SelfSigned
	switch {
	case imitation:
		return session.Critical
	case c.Unsupported != "":
		return session.Medium
	case p.OwnIssuers || c.AmazonNamed:
		return session.Critical
	case s.Endpoint.Partition == "aws-cn" && c.LeadsToPublic:
		return session.Medium
	case strings.HasPrefix(s.Endpoint.Partition, "aws-iso"):
		return session.Medium
	}
	return session.Critical
}
