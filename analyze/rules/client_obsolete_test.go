package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestClientObsolete(t *testing.T) {
	offers := func(v session.Version) *session.Session {
		return change(good12(), func(s *session.Session) { s.TLS.OfferedMax, s.TLS.OfferedVersions = v, []session.Version{v} })
	}
	run(t, ClientObsolete, []sample{
		{name: "TLS 1.1 at most, refused", s: change(offers(session.TLS11), func(s *session.Session) {
			s.TLS.ServerHelloSeen, s.TLS.Version = false, 0
			s.TLS.Alerts = []session.Alert{{From: session.Server, Fatal: true, Code: 70, Description: "protocol_version"}}
		}), want: session.Medium, says: []string{"TLS 1.1", "TLS 1.2"}},
		{name: "TLS 1.0 at most, accepted", s: change(offers(session.TLS10), func(s *session.Session) { s.TLS.Version = session.TLS10 }), want: session.Medium},
		{name: "TLS 1.2 at most under a minimum of 1.3", s: good12(), p: &Policy{MinVersion: session.TLS13}, want: session.Medium},
		{name: "TLS 1.2", s: good12()},
		{name: "TLS 1.3", s: good13()},
		{name: "a draft of TLS 1.3", s: offers(0x7f12)},
		{name: "a value that is no version", s: offers(0x0105)},
		{name: "no ClientHello", s: change(offers(session.TLS10), func(s *session.Session) { s.TLS.ClientHelloSeen = false })},
		{name: "no TLS", s: plain()},
	})
}
