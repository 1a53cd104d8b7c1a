package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestUnexpectedRegion(t *testing.T) {
	eu := &Policy{Regions: []string{"eu-central-1", "eu-west-1"}}
	run(t, UnexpectedRegion, []sample{
		{name: "elsewhere", s: good13(), p: eu, want: session.Medium, says: []string{"us-east-1"}},
		{name: "over HTTP", s: plain(), p: eu, want: session.Medium},
		{name: "a region of the list", s: good13(), p: &Policy{Regions: []string{"us-east-1"}}},
		{name: "no policy", s: good13()},
		{name: "an emulator", s: change(plain(), func(s *session.Session) {
			s.Endpoint = session.Endpoint{Service: "dynamodb-local", Kind: "local", Region: "local"}
		}), p: eu},
		{name: "region unknown", s: change(good13(), func(s *session.Session) { s.Endpoint.Region = "" }), p: eu},
	})
}
