package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestPublicEndpoint(t *testing.T) {
	linked := &Policy{EndpointKinds: []string{"interface"}}
	kind := func(k string) *session.Session {
		return change(good13(), func(s *session.Session) { s.Endpoint.Kind = k })
	}
	run(t, PublicEndpoint, []sample{
		{name: "a public name", s: good13(), p: linked, want: session.Medium, says: []string{"public"}},
		{name: "an account-based name", s: kind("account"), p: linked, want: session.Medium},
		{name: "a public name through a proxy at a private address", s: tunnel(), p: linked, want: session.Medium},
		{name: "a public name at a private address, where interface is not the demand", s: at(good13(), "10.0.7.88"), p: &Policy{EndpointKinds: []string{"fips"}}, want: session.Medium},
		{name: "PrivateLink", s: kind("interface"), p: linked},
		{name: "a public name behind a private hosted zone", s: at(good13(), "10.0.7.88"), p: linked},
		{name: "one of several", s: kind("fips"), p: &Policy{EndpointKinds: []string{"fips", "interface"}}},
		{name: "no policy", s: good13()},
		{name: "an emulator", s: kind("local"), p: linked},
		{name: "kind unknown", s: kind(""), p: linked},
	})
}
