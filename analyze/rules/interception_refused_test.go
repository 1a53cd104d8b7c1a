package rules

import (
	"fmt"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func clientAlert(s *session.Session, code uint8) *session.Session {
	s.TLS.Alerts = []session.Alert{{From: session.Client, Fatal: true, Code: code, Description: fmt.Sprintf("alert_%d", code)}}
	s.TLS.Alert = &s.TLS.Alerts[0]
	return s
}

func TestInterceptionRefused(t *testing.T) {
	for code := range 256 {
		want := none
		switch code {
		case 42, 43, 44, 45, 46, 48:
			want = session.High
		}
		run(t, InterceptionRefused, []sample{
			{name: fmt.Sprintf("TLS 1.3, alert %d", code), s: clientAlert(left13(), uint8(code)), want: want},
			{name: fmt.Sprintf("bad chain, alert %d", code), s: clientAlert(left12(), uint8(code)), want: want},
		})
	}
	bad := func() *session.Session { return clientAlert(left12(), 48) }
	run(t, InterceptionRefused, []sample{
		{name: "unknown_ca over a private CA", s: bad(), want: session.High, says: []string{"CN=Example Inspection CA", "alert_48"}},
		{name: "certificate_expired over an expired genuine chain", s: change(good12(), func(s *session.Session) {
			s.Chain.Expired = true
			s.TLS.ClientAppData = false
			clientAlert(s, 45)
		}), want: session.High},
		{name: "the capture ended after the alert", s: change(bad(), func(s *session.Session) { s.Ended = session.Ended{} }), want: session.High},
		{name: "only the first alert was kept", s: change(bad(), func(s *session.Session) { s.TLS.Alerts = nil }), want: session.High},
		{name: "a warning, and no data after it", s: change(bad(), func(s *session.Session) { s.TLS.Alerts[0].Fatal = false }), want: session.High},
		{name: "an unparsable certificate", s: change(bad(), func(s *session.Session) {
			hide(s, session.VisibilityUnparsable)
		}), want: session.High},

		{name: "a warning, and data after it", s: change(bad(), func(s *session.Session) { s.TLS.Alerts[0].Fatal, s.TLS.ClientAppData = false, true })},
		{name: "unknown_ca over Amazon's chain: the client lacks the roots", s: clientAlert(change(good12(), func(s *session.Session) { s.TLS.ClientAppData = false }), 48)},
		{name: "the server refuses the client's certificate", s: change(bad(), func(s *session.Session) { s.TLS.Alerts[0].From = session.Server })},
		{name: "the certificate was lost", s: change(bad(), func(s *session.Session) {
			hide(s, session.VisibilityIncomplete)
			s.Loss.TruncatedPackets = 1
		})},
		{name: "no ServerHello", s: change(bad(), func(s *session.Session) { s.TLS.ServerHelloSeen = false })},
		{name: "no TLS", s: plain()},
	})
}

func TestInterceptionSuspected(t *testing.T) {
	with := func(s *session.Session, f func(*session.Session)) *session.Session { return change(s, f) }
	encryptedAlert := func() *session.Session {
		return with(left13(), func(s *session.Session) { s.TLS.ClientEncryptedAlert = true })
	}
	finished := func() *session.Session {
		return with(left13(), func(s *session.Session) {
			s.TLS.ClientFinished, s.TLS.Established, s.TLS.HandshakeDone = true, session.Yes, s.Start.Add(time.Second)
			s.End = s.Start.Add(1100 * time.Millisecond)
		})
	}
	run(t, InterceptionRefused, []sample{
		{name: "FIN after the hidden flight", s: left13(), want: session.Medium, says: []string{"suspected", "right after the server's flight"}},
		{name: "RST after the hidden flight", s: with(left13(), func(s *session.Session) { s.Ended = session.Ended{By: session.Client, RST: true} }), want: session.Medium},
		{name: "finished and gone", s: finished(), want: session.Medium, says: []string{"suspected", "finished"}},
		{name: "an encrypted alert", s: encryptedAlert(), want: session.Medium, says: []string{"encrypted alert"}},
		{name: "an encrypted alert, and the server was quicker to close", s: with(encryptedAlert(), func(s *session.Session) { s.Ended.By = session.Server }), want: session.Medium},
		{name: "finished and gone over a bad chain", s: left12(), want: session.Medium, says: []string{"CN=Example Inspection CA"}},
		{name: "finished and gone over another name's chain", s: with(good12(), func(s *session.Session) {
			s.TLS.ClientAppData, s.TLS.ClientCloseNotify = false, false
			s.Chain.NameMismatch = true
		}), want: session.Medium},

		{name: "a health check says goodbye", s: with(finished(), func(s *session.Session) { s.TLS.ClientCloseNotify = true })},
		{name: "a health check over a bad chain says goodbye", s: with(left12(), func(s *session.Session) { s.TLS.ClientCloseNotify = true })},
		{name: "data went", s: with(left13(), func(s *session.Session) { s.TLS.ClientAppData = true })},
		{name: "data may have gone", s: with(finished(), func(s *session.Session) { s.TLS.ClientUnclear = true })},
		{name: "a good chain", s: with(good12(), func(s *session.Session) { s.TLS.ClientAppData, s.TLS.ClientCloseNotify = false, false })},
		{name: "the server closed first", s: with(left13(), func(s *session.Session) { s.Ended.By = session.Server })},
		{name: "the server sent an alert", s: with(left13(), func(s *session.Session) {
			s.TLS.Alerts = []session.Alert{{From: session.Server, Fatal: true, Code: 80, Description: "internal_error"}}
		})},
		{name: "the server closed in order", s: with(left12(), func(s *session.Session) {
			s.TLS.Alerts = []session.Alert{{From: session.Server, Code: 0, Description: "close_notify"}}
		})},
		{name: "a server warning explains nothing", s: with(left12(), func(s *session.Session) {
			s.TLS.Alerts = []session.Alert{{From: session.Server, Code: 112, Description: "unrecognized_name"}}
		}), want: session.Medium},
		{name: "the client's illegal_parameter is no refusal", s: clientAlert(left12(), 47)},
		{name: "the capture ended first", s: with(left13(), func(s *session.Session) { s.Ended = session.Ended{} })},
		{name: "the client waited: a timeout", s: with(left13(), func(s *session.Session) { s.End = s.Start.Add(30 * time.Second) })},
		{name: "an idle connection was dropped", s: with(finished(), func(s *session.Session) { s.End = s.Start.Add(time.Minute) })},
		{name: "the server's flight did not come", s: with(left13(), func(s *session.Session) { s.TLS.ServerFlightSeen = false })},
		{name: "resumed", s: with(left13(), func(s *session.Session) { s.TLS.Resumed = session.Yes; s.Visibility = session.VisibilityResumed })},
		{name: "perhaps resumed", s: with(left13(), func(s *session.Session) { s.TLS.Resumed = session.Unknown })},
		{name: "an anonymous suite shows nothing to refuse", s: with(left13(), func(s *session.Session) { s.Visibility = session.VisibilityNone })},
		{name: "the server wants a client certificate", s: with(left12(), func(s *session.Session) { s.TLS.ClientCertificateRequested = true })},
		{name: "bytes of the client are missing", s: with(left13(), func(s *session.Session) { s.Loss.GapBytes[session.Client] = 7 })},
		{name: "bytes were cut off", s: with(left12(), func(s *session.Session) { s.Loss.TruncatedPackets = 1 })},
		{name: "one side only", s: with(left13(), func(s *session.Session) { s.Loss.OneSided = true })},
		{name: "no times", s: with(left13(), func(s *session.Session) { s.Start, s.End = time.Time{}, time.Time{} })},
	})
}
