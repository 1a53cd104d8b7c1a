package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestCleartextProxy(t *testing.T) {
	named := func(names ...string) *session.Session {
		return change(tunnel(), func(s *session.Session) { s.Proxy.Names = names })
	}
	allow := func(s ...string) *Policy { return &Policy{AllowProxies: s} }
	run(t, CleartextProxy, []sample{
		{name: "no list", s: tunnel(), want: session.Medium, says: []string{"10.0.8.9:3128"}},
		{name: "a password in clear", s: change(tunnel(), func(s *session.Session) { s.Proxy.CredentialsExposed = true }), want: session.Medium, says: []string{"password"}},
		{name: "another address listed", s: tunnel(), p: allow("10.0.8.8:3128"), want: session.Medium},
		{name: "another port listed", s: tunnel(), p: allow("10.0.8.9:8080"), want: session.Medium},
		{name: "another name listed", s: named("evil.example.com"), p: allow("proxy.example.com:3128"), want: session.Medium},
		{name: "HTTP in a tunnel", s: change(tunnel(), func(s *session.Session) { s.Transport, s.TLS = session.TransportConnectHTTP, nil }), want: session.Medium},

		{name: "listed by address", s: tunnel(), p: allow("10.0.8.8:3128", "10.0.8.9:3128")},
		{name: "listed by prefix", s: tunnel(), p: allow("10.0.8.0/24:3128")},
		{name: "listed by name", s: named("other.example.com", "proxy.example.com"), p: allow("Proxy.Example.com:3128")},

		{name: "no proxy", s: good13()},
		{name: "absolute-form is plaintext", s: change(plain(), func(s *session.Session) { s.Proxy = &session.Proxy{Target: name} })},
		{name: "the proxy refused", s: change(tunnel(), func(s *session.Session) {
			s.Transport, s.TLS = session.TransportUnknown, nil
			s.Proxy.Established, s.Proxy.Status = false, 407
		})},
		{name: "an emulator behind a proxy", s: change(tunnel(), func(s *session.Session) { s.Endpoint.Service, s.Endpoint.Kind = "dynamodb-local", "local" })},

		{name: "listed by name, and nothing tells the name", s: tunnel(), p: allow("proxy.example.com:3128")},
	})
}
