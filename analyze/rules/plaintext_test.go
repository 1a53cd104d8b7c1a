package rules

import (
	"net/netip"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestPlaintext(t *testing.T) {
	loopback := func(s *session.Session) *session.Session {
		s.Server = netip.MustParseAddrPort("127.20.80.1:80")
		s.Endpoint.AddrAWS, s.Endpoint.AddrDynamoDB = session.No, session.No
		s.Endpoint.MatchedBy = []string{"host", "target"}
		return s
	}
	local := func(addr string) *session.Session {
		s := plain()
		s.Server = netip.MustParseAddrPort(addr)
		s.HTTP.Host = "localhost:8000"
		s.Endpoint = session.Endpoint{Service: "dynamodb-local", Kind: "local", MatchedBy: []string{"target"}, AddrAWS: session.No, AddrAllowed: session.No}
		return s
	}
	byRange := func(f func(*session.Session)) *session.Session {
		s := plain()
		s.Endpoint.MatchedBy, s.Endpoint.Name, s.Endpoint.Kind = []string{"range"}, "", ""
		s.HTTP = &session.HTTP{Method: "GET", Path: "/", Total: 1}
		f(s)
		return s
	}
	dax := func(addr string) *session.Session {
		s := plain()
		s.Server = netip.MustParseAddrPort(addr)
		s.HTTP, s.Transport = nil, session.TransportDAX
		s.Endpoint = session.Endpoint{Service: "dax", MatchedBy: []string{"port"}}
		s.DAX = &session.DAX{AuthSeen: true, AccessKeyID: "ASIA…MPLE", SignatureExposed: true, SessionTokenExposed: true}
		return s
	}
	run(t, Plaintext, []sample{
		{name: "requests over HTTP", s: plain(), want: session.Critical, says: []string{name, "signature", "session token", "AKIA…MPLE"}},
		{name: "a request without credentials", s: change(plain(), func(s *session.Session) {
			s.HTTP.SignatureExposed, s.HTTP.SessionTokenExposed, s.HTTP.AccessKeyID = false, false, ""
		}), want: session.Critical},
		{name: "a health check to the endpoint's name", s: change(plain(), func(s *session.Session) {
			s.HTTP = &session.HTTP{Method: "GET", Host: name, Path: "/", Total: 1}
			s.Endpoint.MatchedBy = []string{"range", "host"}
		}), want: session.Critical},
		{name: "the real name at a loopback address is no emulator", s: loopback(plain()), want: session.Critical, says: []string{"loopback"}},
		{name: "an emulator on loopback", s: local("127.0.0.1:8000"), want: session.Low, says: []string{"emulator"}},
		{name: "an emulator on IPv6 loopback", s: local("[::1]:8000"), want: session.Low},
		{name: "an emulator elsewhere", s: local("172.17.0.2:8000"), want: session.Critical},
		{name: "absolute-form through a proxy on loopback", s: change(loopback(plain()), func(s *session.Session) {
			s.Server = netip.MustParseAddrPort("127.0.0.1:8080")
			s.Proxy = &session.Proxy{Target: name, CredentialsExposed: true}
		}), want: session.Critical},
		{name: "HTTP inside a tunnel", s: change(plain(), func(s *session.Session) {
			s.Transport = session.TransportConnectHTTP
			s.Proxy = &session.Proxy{Target: name + ":80", Connect: true, Established: true}
		}), want: session.Critical},
		{name: "only answers seen", s: change(plain(), func(s *session.Session) {
			s.HTTP = &session.HTTP{ResponseOnly: true, Status: 200}
			s.Loss.OneSided = true
		}), want: session.Critical, says: []string{"answers"}},
		{name: "rpc-v2-cbor path", s: change(plain(), func(s *session.Session) { s.Endpoint.MatchedBy = []string{"path"} }), want: session.Critical},
		{name: "DAX on 8111", s: dax("10.0.3.4:8111"), want: session.Critical, says: []string{"DAX", "session token"}},
		{name: "DAX at a loopback address is no emulator", s: dax("127.20.81.1:8111"), want: session.Critical},
		{name: "HTTP to the ranges without Host", s: byRange(func(*session.Session) {}), want: session.Critical},
		{name: "HTTP to the ranges with an address as Host", s: byRange(func(s *session.Session) { s.HTTP.Host = "52.94.5.7:80" }), want: session.Critical},
		{name: "HTTP/2 to the ranges in clear", s: byRange(func(s *session.Session) { s.HTTP = &session.HTTP{H2C: true} }), want: session.Critical},

		{name: "HTTP to the ranges with another service's Host", s: byRange(func(s *session.Session) { s.HTTP.Host = "s3.us-east-1.amazonaws.com" })},
		{name: "TLS", s: good12()},
		{name: "a CONNECT request before TLS", s: change(tunnel(), func(s *session.Session) { s.HTTP = &session.HTTP{Method: "CONNECT", Host: name, Total: 1} })},
		{name: "NULL cipher is not plaintext here", s: change(good12(), func(s *session.Session) { s.TLS.Cipher = "TLS_RSA_WITH_NULL_SHA" })},

		{name: "unknown bytes to the ranges", s: byRange(func(s *session.Session) { s.HTTP, s.Transport = nil, session.TransportUnknown })},
		{name: "the Host may have been lost", s: byRange(func(s *session.Session) { s.Loss.GapBytes[session.Client] = 40 })},
		{name: "HTTP to an address that nobody looked up", s: byRange(func(s *session.Session) { s.Endpoint.AddrDynamoDB = session.Unknown })},
	})
}

func TestPlaintextEvidence(t *testing.T) {
	f := plaintextRule.Check(&Input{Session: plain()})
	for k, want := range map[string]any{"protocol": "http", "host": name, "operation": "GetItem", "signature_exposed": true,
		"session_token_exposed": true, "access_key": "AKIA…MPLE", "access_key_exposed": true, "requests": 1} {
		if f.Evidence[k] != want {
			t.Errorf("%s = %v, want %v", k, f.Evidence[k], want)
		}
	}
}
