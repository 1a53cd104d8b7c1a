package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// shows is good12 with another chain.
func shows(c session.Chain) *session.Session {
	s := intercepted()
	s.Chain = &c
	return s
}

func in(partition string, s *session.Session) *session.Session {
	s.Endpoint.Partition = partition
	return s
}

func TestUnexpectedIssuer(t *testing.T) {
	run(t, UnexpectedIssuer, []sample{
		{name: "a private CA", s: intercepted(), want: session.Critical, says: []string{"CN=Example Inspection CA", "neither Amazon's nor allowed"}},
		{name: "a known interceptor", s: shows(session.Chain{Interceptor: "Zscaler"}), want: session.Critical, says: []string{"looks like Zscaler"}},
		{name: "self-signed", s: shows(session.Chain{SelfSigned: true}), want: session.Critical, says: []string{"self-signed"}},
		{name: "forged beyond doubt", s: change(shows(session.Chain{AmazonNamed: true, Disproved: true}), func(s *session.Session) {
			s.Certificate.Issuer = "CN=Amazon RSA 2048 M01,O=Amazon,C=US"
		}), want: session.Critical, says: []string{"forged", "CN=Amazon RSA 2048 M01"}},
		{name: "Amazon's name and nothing to prove it", s: shows(session.Chain{AmazonNamed: true, Incomplete: true, MissingIssuer: "CN=Amazon Root CA 1"}),
			want: session.Critical, says: []string{"without the proof", "CN=Amazon Root CA 1"}},
		{name: "another public root", s: shows(session.Chain{LeadsToPublic: true, Root: "CN=Other Root"}), want: session.Critical, says: []string{"CN=Other Root"}},
		{name: "an incomplete path", s: shows(session.Chain{Incomplete: true, MissingIssuer: "CN=Corp Root"}), want: session.Critical, says: []string{"CN=Corp Root"}},
		{name: "malformed", s: shows(session.Chain{Malformed: true}), want: session.Critical, says: []string{"malformed"}},
		{name: "explicit curve parameters", s: shows(session.Chain{ExplicitCurve: true, LeadsToPublic: true}), want: session.Critical},
		{name: "an issuer that is no CA", s: shows(session.Chain{Violation: "CN=x is no CA", AmazonNamed: true}), want: session.Critical, says: []string{"no CA"}},
		{name: "seen inside the client's library", s: change(intercepted(), func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy = session.VisibilityEncrypted, "library"
		}), want: session.Critical},
		{name: "decrypted", s: change(intercepted(), func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy = session.VisibilityDecrypted, "keylog"
		}), want: session.Critical},
		{name: "an algorithm that cannot be checked", s: shows(session.Chain{Unsupported: "ML-DSA-44"}), want: session.Medium, says: []string{"could not be checked"}},
		{name: "an unknown algorithm does not excuse a false signature", s: shows(session.Chain{Unsupported: "ML-DSA-44", Disproved: true}), want: session.Critical},
		{name: "PrivateLink", s: change(intercepted(), func(s *session.Session) { s.Endpoint.Kind = "interface" }), want: session.Critical},

		{name: "China under a public root", s: in("aws-cn", shows(session.Chain{LeadsToPublic: true})), want: session.Medium, says: []string{"--allow-ca"}},
		{name: "China under a private root", s: in("aws-cn", intercepted()), want: session.Critical},
		{name: "China once issuers are named", s: in("aws-cn", shows(session.Chain{LeadsToPublic: true})), p: &Policy{OwnIssuers: true}, want: session.Critical},
		{name: "iso under a private root", s: in("aws-iso-b", intercepted()), want: session.Medium},
		{name: "iso, self-signed", s: in("aws-iso", shows(session.Chain{SelfSigned: true})), want: session.Critical},
		{name: "iso, an imitation", s: in("aws-iso", shows(session.Chain{AmazonNamed: true, Disproved: true})), want: session.Critical},

		{name: "Amazon", s: good12()},
		{name: "Amazon, expired", s: change(good12(), func(s *session.Session) { s.Chain.Expired = true })},
		{name: "Amazon, misnamed", s: change(good12(), func(s *session.Session) { s.Chain.NameMismatch = true })},

		{name: "an emulator with a certificate of its own", s: change(intercepted(), func(s *session.Session) {
			s.Endpoint = session.Endpoint{Service: "dynamodb-local", Kind: "local", MatchedBy: []string{"endpoint"}}
		})},
		{name: "not DynamoDB's", s: change(intercepted(), func(s *session.Session) { s.Endpoint = session.Endpoint{} })},

		{name: "hidden by TLS 1.3", s: good13()},
		{name: "cut off inside the leaf", s: change(intercepted(), func(s *session.Session) {
			s.Certificate.Partial, s.Visibility, s.Chain = true, session.VisibilityIncomplete, nil
		})},
		{name: "judged from a part", s: change(intercepted(), func(s *session.Session) { s.Visibility = session.VisibilityIncomplete })},
	})
}
