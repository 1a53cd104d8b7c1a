package rules

import (
	"net/netip"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// at moves a session to an address that is not AWS's.
func at(s *session.Session, addr string) *session.Session {
	s.Server = netip.AddrPortFrom(netip.MustParseAddr(addr), 443)
	s.Endpoint.AddrAWS, s.Endpoint.AddrDynamoDB, s.Endpoint.AddrAllowed = session.No, session.No, session.No
	s.Endpoint.MatchedBy = []string{"sni"}
	return s
}

func TestUnexpectedDestination(t *testing.T) {
	as := func(s *session.Session, service, kind string) *session.Session {
		s.Endpoint.Service, s.Endpoint.Kind = service, kind
		return s
	}
	run(t, UnexpectedDestination, []sample{
		{name: "somebody's address", s: at(good13(), "203.0.113.9"), want: session.High, says: []string{name, "203.0.113.9"}},
		{name: "somebody's address, another chain", s: at(intercepted(), "203.0.113.9"), want: session.High},
		{name: "a genuine chain without its key", s: change(at(good12(), "203.0.113.9"), func(s *session.Session) { s.TLS.KeyProof = session.KeyProofInvalid }), want: session.High},
		{name: "a genuine chain of another name", s: change(at(good12(), "203.0.113.9"), func(s *session.Session) { s.Chain.NameMismatch = true }), want: session.High},
		{name: "over HTTP", s: change(at(plain(), "203.0.113.9"), func(s *session.Session) { s.Endpoint.MatchedBy = []string{"host"} }), want: session.High},
		{name: "known from DNS alone", s: change(at(good13(), "203.0.113.9"), func(s *session.Session) {
			s.TLS.SNI = ""
			s.Endpoint.MatchedBy = []string{"dns"}
		}), want: session.High},
		{name: "no answer came", s: change(at(good13(), "203.0.113.9"), func(s *session.Session) {
			s.TLS.ServerHelloSeen, s.TLS.Version, s.Visibility = false, 0, session.VisibilityNone
		}), want: session.High},
		{name: "RFC 1918", s: at(good13(), "10.0.7.88"), want: session.Medium, says: []string{"private"}},
		{name: "RFC 4193", s: at(good13(), "fd00::7"), want: session.Medium},
		{name: "RFC 6598", s: at(good13(), "100.64.3.4"), want: session.Medium},
		{name: "loopback", s: at(good13(), "127.20.13.1"), want: session.Medium, says: []string{"this host"}},
		{name: "IPv4-mapped loopback", s: at(good13(), "::ffff:127.0.0.1"), want: session.Medium},
		{name: "link-local", s: at(good13(), "169.254.7.7"), want: session.Medium},
		{name: "a PrivateLink name at somebody's address", s: as(at(good13(), "203.0.113.9"), "dynamodb", "interface"), want: session.High},

		{name: "AWS's address", s: good13()},
		{name: "AWS's address outside the DYNAMODB ranges", s: change(at(good13(), "203.0.113.9"), func(s *session.Session) { s.Endpoint.AddrAWS = session.Yes })},
		{name: "an allowed address", s: change(at(good13(), "10.0.7.88"), func(s *session.Session) { s.Endpoint.AddrAllowed = session.Yes })},
		{name: "a good chain answers", s: at(good12(), "10.0.7.88")},
		{name: "a good chain answers at somebody's address", s: at(good12(), "203.0.113.9")},
		{name: "a PrivateLink name at a private address", s: as(at(good13(), "10.0.7.88"), "dynamodb", "interface")},
		{name: "a DAX cluster at a private address", s: as(at(good13(), "10.0.7.88"), "dax", "")},

		{name: "through a proxy", s: tunnel()},
		{name: "absolute-form through a proxy", s: change(at(plain(), "203.0.113.9"), func(s *session.Session) { s.Proxy = &session.Proxy{Target: name} })},
		{name: "no name was asked for", s: change(at(good13(), "203.0.113.9"), func(s *session.Session) {
			s.TLS.SNI, s.Endpoint.Name = "", ""
			s.Endpoint.MatchedBy = []string{"certificate"}
		})},
		{name: "the operator's own name", s: change(as(at(good13(), "203.0.113.9"), "dynamodb", ""), func(s *session.Session) { s.Endpoint.Partition = "" })},
		{name: "iso publishes no ranges", s: in("aws-iso-e", at(good13(), "203.0.113.9"))},

		{name: "nobody looked the address up", s: change(at(good13(), "203.0.113.9"), func(s *session.Session) { s.Endpoint.AddrAWS = session.Unknown })},
		{name: "the chain was lost", s: change(at(good12(), "203.0.113.9"), func(s *session.Session) {
			hide(s, session.VisibilityIncomplete)
			s.Loss.GapBytes[session.Server] = 1400
		})},
	})
}

func TestCheckDNS(t *testing.T) {
	a := func(addr string, aws session.Tri) Address {
		return Address{Addr: netip.MustParseAddr(addr), AWS: aws, Allowed: session.No}
	}
	e := publicEndpoint()
	for _, c := range []struct {
		name    string
		e       session.Endpoint
		answers []Address
		want    session.Severity
	}{
		{"a hijacked answer", e, []Address{a("203.0.113.9", session.No)}, session.High},
		{"one wrong address among right ones", e, []Address{a("52.94.5.7", session.Yes), a("203.0.113.9", session.No)}, session.High},
		{"the worst counts", e, []Address{a("10.1.2.3", session.No), a("203.0.113.9", session.No)}, session.High},
		{"a private hosted zone", e, []Address{a("10.1.2.3", session.No)}, session.Medium},
		{"a sinkhole", e, []Address{a("0.0.0.0", session.No)}, session.Medium},
		{"AWS's addresses", e, []Address{a("52.94.5.7", session.Yes)}, none},
		{"addresses nobody looked up", e, []Address{a("203.0.113.9", session.Unknown)}, none},
		{"an allowed address", e, []Address{{Addr: netip.MustParseAddr("203.0.113.9"), AWS: session.No, Allowed: session.Yes}}, none},
		{"no addresses", e, nil, none},
		{"no address at all", e, []Address{{AWS: session.No, Allowed: session.No}}, none},
		{"another service's name", session.Endpoint{Name: "s3.us-east-1.amazonaws.com"}, []Address{a("203.0.113.9", session.No)}, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := CheckDNS(c.e, c.answers)
			if f == nil {
				if c.want != none {
					t.Fatalf("no finding, want %s", c.want)
				}
				return
			}
			checkShape(t, unexpectedDestinationRule, f)
			if f.Severity != c.want {
				t.Fatalf("severity %s, want %s: %s", f.Severity, c.want, f.Message)
			}
		})
	}
}
