package rules

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestVerificationDisabled(t *testing.T) {
	expired := func(by time.Duration) *session.Session {
		return change(good12(), func(s *session.Session) {
			s.Certificate.NotAfter = s.TLS.HandshakeDone.Add(-by)
			s.Chain.Expired, s.Chain.OutOfTimeBy = true, by
		})
	}
	misnamed := func() *session.Session {
		return change(good12(), func(s *session.Session) { s.Chain.NameMismatch = true })
	}
	broken := func() *session.Session {
		return shows(session.Chain{BrokenSignature: true, Disproved: true, AmazonNamed: true})
	}
	emulated := func(s *session.Session) { s.Endpoint.Service, s.Endpoint.Kind = "dynamodb-local", "local" }
	onThisHost := func(s *session.Session) { s.Server = netip.MustParseAddrPort("127.0.0.1:8443") }
	run(t, VerificationDisabled, []sample{
		{name: "data over an expired leaf", s: expired(32 * 24 * time.Hour), want: session.Critical, says: []string{"expired since"}},
		{name: "data over an expired leaf of a private CA", s: change(intercepted(), func(s *session.Session) {
			s.Certificate.NotAfter = s.Start.Add(-48 * time.Hour)
		}), want: session.Critical},
		{name: "data over a leaf of the future", s: change(good12(), func(s *session.Session) { s.Certificate.NotBefore = s.Start.Add(2 * time.Hour) }), want: session.Critical},
		{name: "data over another name's leaf", s: misnamed(), want: session.Critical, says: []string{"not for the name " + name}},
		{name: "data over a chain that does not hold together", s: broken(), want: session.Critical},
		{name: "the library says so", s: change(good13(), func(s *session.Session) { s.TLS.ClientVerifies = session.No }), want: session.Critical, says: []string{"library"}},
		{name: "the library says how it knows", s: change(good13(), func(s *session.Session) {
			s.TLS.ClientVerifies = session.No
			s.Library = &session.Library{Name: "OpenSSL 3.0.19", VerificationBy: "SSL_VERIFY_NONE"}
		}), want: session.Critical, says: []string{"OpenSSL 3.0.19", "SSL_VERIFY_NONE"}},
		{name: "the library says so, and no data went", s: change(good13(), func(s *session.Session) {
			s.TLS.ClientVerifies, s.TLS.ClientAppData = session.No, false
		})},
		{name: "decrypted TLS 1.3", s: change(good13(), func(s *session.Session) {
			g := misnamed()
			s.Certificate, s.Chain, s.Trust, s.Visibility = g.Certificate, g.Chain, g.Trust, session.VisibilityDecrypted
			s.Certificate.SeenBy = "keylog"
		}), want: session.Critical},

		{name: "an emulator on loopback", s: change(misnamed(), emulated, onThisHost), want: session.Low, says: []string{"not for the name"}},
		{name: "the library says so of an emulator's client", s: change(good13(), emulated, onThisHost, func(s *session.Session) {
			s.TLS.ClientVerifies = session.No
		}), want: session.Low, says: []string{"library"}},
		{name: "localhost on another host", s: change(misnamed(), emulated), want: session.Critical},
		{name: "localhost of a proxy on this host", s: change(misnamed(), emulated, onThisHost, func(s *session.Session) {
			s.Proxy = &session.Proxy{Connect: true, Target: "localhost:8443"}
		}), want: session.Critical},
		{name: "a name of the operator's own on loopback", s: change(misnamed(), onThisHost, func(s *session.Session) {
			s.Endpoint = session.Endpoint{Service: "dynamodb", MatchedBy: []string{"endpoint"}}
		}), want: session.Critical},

		{name: "a good chain", s: good12()},
		{name: "an emulator's client that verifies", s: change(good12(), emulated, onThisHost)},
		{name: "the library verifies", s: change(good13(), func(s *session.Session) { s.TLS.ClientVerifies = session.Yes })},
		{name: "a private CA may have been allowed", s: intercepted()},
		{name: "self-signed may have been allowed", s: shows(session.Chain{SelfSigned: true})},
		{name: "a forged issuer may have been allowed", s: shows(session.Chain{AmazonNamed: true, Disproved: true})},
		{name: "a false signature beside a path to a public root", s: shows(session.Chain{BrokenSignature: true, Disproved: true, LeadsToPublic: true, Root: "CN=R"})},
		{name: "a private CA changed its key, and the old root is still sent", s: shows(session.Chain{BrokenSignature: true, Disproved: true})},
		{name: "a replayed chain is checked even by the careless", s: change(good12(), func(s *session.Session) { s.TLS.KeyProof = session.KeyProofInvalid })},
		{name: "expired within a wrong clock's reach", s: expired(59 * time.Minute)},
		{name: "an expired certificate above a good leaf", s: change(good12(), func(s *session.Session) { s.Chain.Expired, s.Chain.OutOfTimeBy = true, 99*time.Hour })},
		{name: "no data went", s: change(misnamed(), func(s *session.Session) { s.TLS.ClientAppData = false })},
		{name: "early data went before the certificate", s: change(misnamed(), func(s *session.Session) { s.TLS.EarlyData = true })},
		{name: "a leaf with a common name alone", s: change(misnamed(), func(s *session.Session) { s.Certificate.Names = nil })},
		{name: "no name was sent", s: change(misnamed(), func(s *session.Session) { s.TLS.SNI = "" })},

		{name: "resumed from a session that was judged", s: change(misnamed(), func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy, s.TLS.Resumed = session.VisibilityResumed, "resumption", session.Yes
		})},
		{name: "seen by a probe only", s: change(misnamed(), func(s *session.Session) { s.Visibility, s.Certificate.SeenBy = session.VisibilityEncrypted, "probe" })},
		{name: "bytes are missing", s: change(misnamed(), func(s *session.Session) { s.Loss.GapBytes[session.Client] = 1 })},
		{name: "no ClientHello", s: change(misnamed(), func(s *session.Session) { s.TLS.ClientHelloSeen = false })},
		{name: "no time", s: change(expired(99*time.Hour), func(s *session.Session) { s.Chain.TimeUnknown = true })},
	})
}
