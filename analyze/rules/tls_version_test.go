package rules

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func negotiated(v session.Version) *session.Session {
	return change(good12(), func(s *session.Session) { s.TLS.Version = v })
}

func TestTLSVersion(t *testing.T) {
	run(t, TLSVersion, []sample{
		{name: "TLS 1.1", s: negotiated(session.TLS11), want: session.High, says: []string{"TLS 1.1", "TLS 1.2"}},
		{name: "TLS 1.0", s: negotiated(session.TLS10), want: session.Critical},
		{name: "SSL 3.0", s: negotiated(session.SSL30), want: session.Critical},
		{name: "SSL 2.0", s: negotiated(session.SSL20), want: session.Critical},
		{name: "TLS 1.2 under a minimum of 1.3", s: good12(), p: &Policy{MinVersion: session.TLS13}, want: session.High},
		{name: "chosen though the client aborted", s: change(negotiated(session.TLS11), func(s *session.Session) {
			s.TLS.Established = session.No
			s.TLS.Alerts = []session.Alert{{From: session.Client, Fatal: true, Code: 47, Description: "illegal_parameter"}}
		}), want: session.High},

		{name: "TLS 1.2", s: good12()},
		{name: "TLS 1.3", s: good13()},
		{name: "a draft of TLS 1.3", s: negotiated(0x7f1c)},
		{name: "old versions offered beside TLS 1.3", s: change(good13(), func(s *session.Session) {
			s.TLS.OfferedVersions = []session.Version{session.TLS13, session.TLS12, session.TLS11, session.TLS10}
		})},
		{name: "TLS 1.0 allowed", s: negotiated(session.TLS10), p: &Policy{MinVersion: session.TLS10}},
		{name: "a value that is no version", s: negotiated(0x0105)},

		{name: "no ServerHello", s: change(negotiated(0), func(s *session.Session) { s.TLS.ServerHelloSeen = false })},
		{name: "no TLS", s: plain()},
	})
}
