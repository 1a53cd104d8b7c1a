package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestCertificateReplayed(t *testing.T) {
	proof := func(k session.KeyProof) *session.Session {
		return change(good12(), func(s *session.Session) { s.TLS.KeyProof = k })
	}
	run(t, CertificateReplayed, []sample{
		{name: "a genuine chain without its key", s: proof(session.KeyProofInvalid), want: session.Critical, says: []string{"genuine", "not signed"}},
		{name: "another chain without its key", s: change(intercepted(), func(s *session.Session) { s.TLS.KeyProof = session.KeyProofInvalid }), want: session.Critical},
		{name: "proven", s: good12()},
		{name: "an algorithm that cannot be checked", s: proof(session.KeyProofUnsupported)},
		{name: "static RSA has no proof", s: proof(session.KeyProofNone)},
		{name: "hidden by TLS 1.3", s: good13()},
		{name: "no TLS", s: plain()},
	})
}
