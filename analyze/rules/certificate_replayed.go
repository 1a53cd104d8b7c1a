package rules

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

var certificateReplayedRule = &Rule{
	ID:       CertificateReplayed,
	Title:    "a certificate was shown by somebody who does not hold its key",
	Severity: session.Critical,
	Citation: "RFC 5246, Section 7.4.3 (signature of ServerKeyExchange); RFC 8422, Section 5.4",
	Summary: "TLS 1.2 or older with an ephemeral key exchange: the signature in ServerKeyExchange, over both randoms and the parameters, does " +
		"not verify under the leaf's key.",
	Why: "Certificates are public: anybody can send Amazon's. Only the signature shows who holds the key. A peer that shows a genuine " +
		"chain and cannot sign hopes for a client that looks at names alone, or is a tunnel that dresses up as TLS.",
	Limits: "TLS 1.3 encrypts the proof and static RSA has none, so neither can be judged from the wire. A correct client aborts such a " +
		"handshake; whether this one did, the other facts of the session tell.",
	Fix: Remediation{
		Steps: []string{
			"Find out what answers at the address in the evidence; it is not the owner of the certificate. Check DNS, /etc/hosts and routes " +
				"of the host, and whether the process is what it seems.",
			"If the client went on, treat what it sent as read, rotate its credentials, and replace the client: no TLS library skips this check.",
		},
		Snippets: []Snippet{{"From the same host", `dynwatch probe dynamodb.eu-central-1.amazonaws.com
openssl s_client -connect ADDRESS:443 -servername dynamodb.eu-central-1.amazonaws.com </dev/null`}},
	},
	Applies: hasTLS,
	Check: func(in *Input) *session.Finding {
		s := in.Session
		if s.TLS.KeyProof != session.KeyProofInvalid {
			return nil
		}
		what := "a certificate"
		if s.Chain != nil && s.Chain.LeadsToAllowed {
			what = "a genuine certificate"
		}
		e := certificateEvidence(s).text("cipher", s.TLS.Cipher).version("version", s.TLS.Version).yes("client_sent_data", s.TLS.ClientAppData)
		for side, n := range s.Loss.ConflictBytes {
			if n != 0 {
				e[session.Side(side).String()+"_conflict_bytes"] = n
			}
		}
		return &session.Finding{
			Rule: CertificateReplayed, Severity: session.Critical, Evidence: e,
			Message: fmt.Sprintf("%s showed %s issued by %s, but its handshake is not signed by that certificate's key", peer(s), what, issuer(s)),
		}
	},
}
