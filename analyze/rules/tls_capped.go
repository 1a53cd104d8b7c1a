package rules

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var tlsCappedRule = &Rule{
	ID:       TLSCapped,
	Title:    "TLS 1.2 from an endpoint that speaks 1.3, without proof that it is the endpoint",
	Severity: session.Low,
	Citation: "AWS SDK for JavaScript v3 Developer Guide, document history 2025-04-10: TLS 1.3 on all API endpoints in all regions",
	Summary: "The client offered TLS 1.3 to a public DynamoDB endpoint (public, dual-stack or account-based name, in the partitions aws and " +
		"aws-us-gov), got 1.2 without the downgrade sentinel, and what was seen of the handshake does not lead to a key of Amazon's or an " +
		"allowed one: another chain, a genuine chain whose key did not sign, or a suite without a certificate.",
	Why: "DynamoDB's public endpoints answer 1.3 to who offers it. A lower answer without the sentinel comes from something that ends TLS " +
		"itself: a proxy, a load balancer, an interceptor.",
	Limits: "It supports the findings about the certificate and is never the only sign of trouble. FIPS and PrivateLink endpoints, and the " +
		"partitions for which AWS publishes nothing, are left out. A resumed session shows no certificate and is not judged; nor is one whose " +
		"certificate was lost.",
	Fix: Remediation{
		Steps: []string{
			"Find what ends TLS: compare the issuer in the evidence with the company's proxy, and the address with `dynwatch ranges lookup`.",
			"If the terminator is meant to be there, name its CA with --allow-ca and let it speak 1.3 on the side of the client.",
		},
		Snippets: []Snippet{{"dynwatch", `dynwatch capture --allow-ca /etc/ssl/corp-inspection-ca.pem …`}},
	},
	Applies: func(in *Input) bool {
		t := in.Session.TLS
		return t != nil && t.ClientHelloSeen && t.ServerHelloSeen && known13(in.Session.Endpoint)
	},
	Check: func(in *Input) *session.Finding {
		s := in.Session
		t := s.TLS
		if !offers13(t) || t.Version != session.TLS12 || t.Sentinel != session.SentinelNone {
			return nil
		}
		var why string
		switch {
		case t.KeyProof == session.KeyProofInvalid:
			why = "whoever answered does not hold the certificate's key"
		case judged(s) && !s.Chain.LeadsToAllowed:
			why = "the certificate leads to no key of Amazon's"
		case s.Visibility == session.VisibilityNone && cipherFaults(t.Cipher).anonymous:
			why = "no certificate was shown"
		default:
			return nil
		}
		return &session.Finding{
			Rule: TLSCapped, Severity: session.Low,
			Message:  fmt.Sprintf("%s is known to speak TLS 1.3, which the client offered, yet TLS 1.2 was chosen, and %s", peer(s), why),
			Evidence: certificateEvidence(s).version("version", t.Version).version("offered_max", t.OfferedMax),
		}
	},
}

// known13 reports whether an endpoint is of those that AWS says speak TLS 1.3.
func known13(e session.Endpoint) bool {
	switch e.Partition {
	case "aws", "aws-us-gov":
	default:
		return false
	}
	switch e.Kind {
	case "public", "dual-stack", "account":
		return e.Service == "dynamodb" || e.Service == "dynamodb-streams"
	}
	return false
}
