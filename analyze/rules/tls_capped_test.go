package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// capped is an intercepted session whose client offered 1.3.
func capped(f func(*session.Session)) *session.Session {
	s := intercepted()
	s.TLS.OfferedMax, s.TLS.OfferedVersions = session.TLS13, []session.Version{session.TLS13, session.TLS12}
	f(s)
	return s
}

func TestTLSCapped(t *testing.T) {
	run(t, TLSCapped, []sample{
		{name: "another chain", s: capped(func(*session.Session) {}), want: session.Low, says: []string{"TLS 1.3"}},
		{name: "account-based name", s: capped(func(s *session.Session) { s.Endpoint.Kind = "account" }), want: session.Low},
		{name: "a genuine chain without its key", s: capped(func(s *session.Session) {
			s.Chain.LeadsToAllowed, s.TLS.KeyProof = true, session.KeyProofInvalid
		}), want: session.Low},
		{name: "an anonymous suite", s: capped(func(s *session.Session) {
			hide(s, session.VisibilityNone)
			s.TLS.Cipher = "TLS_DH_anon_WITH_AES_128_GCM_SHA256"
		}), want: session.Low},

		{name: "Amazon's chain", s: capped(func(s *session.Session) { s.Chain.LeadsToAllowed = true })},
		{name: "with the sentinel it is a downgrade", s: capped(func(s *session.Session) { s.TLS.Sentinel = session.SentinelTLS12 })},
		{name: "the client offered 1.2", s: intercepted()},
		{name: "the client offered a draft", s: capped(func(s *session.Session) {
			s.TLS.OfferedMax, s.TLS.OfferedVersions = 0x7f12, []session.Version{0x7f12, session.TLS12}
		})},
		{name: "TLS 1.3", s: good13()},
		{name: "TLS 1.1 is another rule's", s: capped(func(s *session.Session) { s.TLS.Version = session.TLS11 })},

		{name: "PrivateLink", s: capped(func(s *session.Session) { s.Endpoint.Kind = "interface" })},
		{name: "FIPS", s: capped(func(s *session.Session) { s.Endpoint.Kind = "fips" })},
		{name: "China", s: capped(func(s *session.Session) { s.Endpoint.Partition = "aws-cn" })},
		{name: "DAX", s: capped(func(s *session.Session) { s.Endpoint.Service, s.Endpoint.Kind = "dax", "" })},

		{name: "the certificate was lost", s: capped(func(s *session.Session) {
			hide(s, session.VisibilityIncomplete)
			s.Loss.GapBytes[session.Server] = 900
		})},
		{name: "resumed", s: capped(func(s *session.Session) { hide(s, session.VisibilityResumed); s.TLS.Resumed = session.Yes })},
		{name: "no ClientHello", s: capped(func(s *session.Session) {
			s.TLS.ClientHelloSeen, s.TLS.OfferedMax, s.TLS.OfferedVersions = false, 0, nil
		})},
	})
}
