package rules

import (
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestSentinel(t *testing.T) {
	hellos := func(offered, negotiated session.Version, mark session.Sentinel) *session.Session {
		return change(good12(), func(s *session.Session) {
			s.TLS.OfferedMax, s.TLS.Version, s.TLS.Sentinel = offered, negotiated, mark
			s.TLS.OfferedVersions = []session.Version{offered}
		})
	}
	run(t, TLSDowngrade, []sample{
		{name: "1.3 offered, 1.2 chosen", s: hellos(session.TLS13, session.TLS12, session.SentinelTLS12), want: session.Critical, says: []string{"TLS 1.3", "TLS 1.2"}},
		{name: "1.3 offered, 1.1 chosen", s: hellos(session.TLS13, session.TLS11, session.SentinelTLS11), want: session.Critical},
		{name: "1.2 offered, 1.1 chosen", s: hellos(session.TLS12, session.TLS11, session.SentinelTLS11), want: session.Critical},
		{name: "1.3 offered beside an experiment", s: change(hellos(0xfb1a, session.TLS12, session.SentinelTLS12), func(s *session.Session) {
			s.TLS.OfferedVersions = []session.Version{0xfb1a, session.TLS13}
		}), want: session.Critical},

		{name: "an old client, 1.2", s: hellos(session.TLS12, session.TLS12, session.SentinelTLS12)},
		{name: "an old client, 1.1", s: hellos(session.TLS11, session.TLS11, session.SentinelTLS11)},
		{name: "an old client, 1.0", s: hellos(session.TLS10, session.TLS10, session.SentinelTLS11)},
		{name: "together with 1.3", s: hellos(session.TLS13, session.TLS13, session.SentinelTLS12)},
		{name: "only a draft was offered", s: hellos(0x7f12, session.TLS12, session.SentinelTLS12)},
		{name: "only an experiment was offered", s: hellos(0xfb1a, session.TLS12, session.SentinelTLS12)},
		{name: "no sentinel: an old server", s: hellos(session.TLS13, session.TLS10, session.SentinelNone)},

		{name: "no ClientHello", s: change(hellos(session.TLS13, session.TLS12, session.SentinelTLS12), func(s *session.Session) {
			s.TLS.ClientHelloSeen, s.TLS.OfferedMax, s.TLS.OfferedVersions = false, 0, nil
		})},
		{name: "no ServerHello", s: hellos(session.TLS13, 0, session.SentinelNone)},
		{name: "no TLS", s: plain()},
	})
}

func TestFallbackSCSV(t *testing.T) {
	fallback := func(max session.Version, f func(*session.TLS)) *session.Session {
		return change(good12(), func(s *session.Session) {
			s.TLS.FallbackSCSV, s.TLS.OfferedMax, s.TLS.OfferedVersions = true, max, []session.Version{max}
			f(s.TLS)
		})
	}
	unanswered := func(code uint8, what string) func(*session.TLS) {
		return func(t *session.TLS) {
			t.ServerHelloSeen, t.Version, t.Cipher = false, 0, ""
			if what != "" {
				t.Alerts = []session.Alert{{From: session.Server, Fatal: true, Code: code, Description: what}}
			}
		}
	}
	run(t, TLSDowngrade, []sample{
		{name: "inappropriate_fallback", s: fallback(session.TLS12, unanswered(86, "inappropriate_fallback")), want: session.Critical, says: []string{"inappropriate_fallback"}},
		{name: "protocol_version", s: fallback(session.TLS10, unanswered(70, "protocol_version")), want: session.High},
		{name: "handshake_failure", s: fallback(session.TLS12, unanswered(40, "handshake_failure")), want: session.High},
		{name: "an ordinary ServerHello", s: fallback(session.TLS12, func(*session.TLS) {}), want: session.High},
		{name: "no answer at all", s: fallback(session.TLS12, unanswered(0, ""))},
		{name: "a client that marks its best offer marks all", s: fallback(session.TLS13, func(t *session.TLS) { t.Version = session.TLS13 })},
		{name: "not marked", s: good12()},
	})
}

// try is a hello to the endpoint, start after t0, that got no ServerHello.
func try(after time.Duration, max session.Version, f func(*session.Session)) *session.Session {
	s := good13()
	if max.Rank() < session.TLS13.Rank() {
		s = good12()
	}
	s.Start, s.End = t0.Add(after), t0.Add(after+10*time.Millisecond)
	s.TLS.OfferedMax, s.TLS.OfferedVersions = max, []session.Version{max}
	if max.Rank() < session.TLS12.Rank() {
		s.TLS.OfferedCiphers = []uint16{0xc013, 0x2f}
	}
	hide(s, session.VisibilityNone)
	tls := s.TLS
	tls.ServerHelloSeen, tls.Version, tls.Cipher, tls.KeyProof = false, 0, "", session.KeyProofNone
	tls.Established, tls.ClientAppData, tls.ServerAppData, tls.ClientFinished, tls.ClientCloseNotify = session.No, false, false, false, false
	tls.ServerFlightSeen, tls.HandshakeDone = false, time.Time{}
	s.Ended = session.Ended{By: session.Server, RST: true}
	if f != nil {
		f(s)
	}
	return s
}

// remember is a Recent that has observed sessions.
func remember(sessions ...*session.Session) *Recent {
	r := NewRecent()
	for _, s := range sessions {
		r.Observe(s)
	}
	return r
}

func TestDance(t *testing.T) {
	const sec = time.Second
	lower := func(after time.Duration, max session.Version) *session.Session { return try(after, max, nil) }
	answered := func(after time.Duration, max session.Version) *session.Session {
		s := good13()
		if max.Rank() < session.TLS13.Rank() {
			s = good12()
		}
		s.Start = t0.Add(after)
		s.TLS.OfferedMax, s.TLS.Version = max, max
		return s
	}
	alert := func(code uint8) func(*session.Session) {
		return func(s *session.Session) {
			s.TLS.Alerts = []session.Alert{{From: session.Server, Fatal: true, Code: code, Description: "x"}}
			s.Ended = session.Ended{By: session.Server, FIN: true}
		}
	}
	silent := func(s *session.Session) { s.Ended = session.Ended{} }
	other := func(s *session.Session) { s.TLS.OfferedCiphers = []uint16{0x2f, 0xc013} } // the same suites in another order
	sni := func(n string) func(*session.Session) {
		return func(s *session.Session) { s.TLS.SNI, s.Endpoint.Name = n, n }
	}
	proc := func(pid int) func(*session.Session) {
		return func(s *session.Session) { fromProcess(s, pid, "/usr/bin/python3.11") }
	}
	from := func(f func(*session.Session), s *session.Session) *session.Session { return change(s, f) }

	run(t, TLSDowngrade, []sample{
		{name: "reset, then 1.2", h: remember(try(0, session.TLS13, nil)), s: answered(sec, session.TLS12), want: session.Critical, says: []string{"TLS 1.3", "TLS 1.2"}},
		{name: "reset, reset, then 1.1", h: remember(try(0, session.TLS13, nil), try(sec, session.TLS12, nil)), s: lower(2*sec, session.TLS11), want: session.Critical, says: []string{"TLS 1.3", "TLS 1.1"}},
		{name: "closed, then 1.2", h: remember(try(0, session.TLS13, func(s *session.Session) { s.Ended = session.Ended{By: session.Server, FIN: true} })), s: lower(sec, session.TLS12), want: session.Critical},
		{name: "silence, then 1.2", h: remember(try(0, session.TLS13, silent)), s: lower(5*sec, session.TLS12), want: session.Critical},
		{name: "handshake_failure, then 1.2", h: remember(try(0, session.TLS13, alert(40))), s: lower(sec, session.TLS12), want: session.Critical},
		{name: "protocol_version, then 1.2", h: remember(try(0, session.TLS13, alert(70))), s: lower(sec, session.TLS12), want: session.Critical},
		{name: "a refused draft, then 1.2", h: remember(try(0, 0x7f10, alert(70))), s: lower(sec, session.TLS12), want: session.Critical},
		{name: "the same process", h: remember(try(0, session.TLS13, proc(811))), s: from(proc(811), lower(sec, session.TLS12)), want: session.Critical},
		{name: "the retry has no SNI, as SSL 3.0", h: remember(try(0, session.TLS11, nil)), s: change(lower(sec, session.SSL30), sni("")), want: session.Critical},
		{name: "GREASE and signalling values differ", h: remember(try(0, session.TLS13, func(s *session.Session) {
			s.TLS.OfferedCiphers = append([]uint16{0x1a1a}, s.TLS.OfferedCiphers...)
		})), s: change(lower(sec, session.TLS12), func(s *session.Session) {
			s.TLS.OfferedCiphers = append([]uint16{0xdada, 0x5600, 0x00ff}, s.TLS.OfferedCiphers...)
			s.TLS.FallbackSCSV, s.TLS.ServerHelloSeen = true, false
		}), want: session.Critical},
		{name: "30 s later", h: remember(try(0, session.TLS13, nil)), s: lower(30*sec, session.TLS12), want: session.Critical},

		{name: "31 s later", h: remember(try(0, session.TLS13, nil)), s: lower(31*sec, session.TLS12)},
		{name: "a retry with the same maximum", h: remember(try(0, session.TLS12, nil)), s: lower(sec, session.TLS12)},
		{name: "rising maxima", h: remember(try(0, session.TLS12, nil)), s: answered(sec, session.TLS13)},
		{name: "the higher try came later", h: remember(try(2*sec, session.TLS13, nil)), s: lower(sec, session.TLS12)},
		{name: "the higher try was answered", h: remember(answered(0, session.TLS13)), s: lower(sec, session.TLS12)},
		{name: "a HelloRetryRequest is an answer", h: remember(try(0, session.TLS13, func(s *session.Session) { s.TLS.HelloRetryRequest = true })), s: lower(sec, session.TLS12)},
		{name: "the same hello was answered in between", h: remember(try(0, session.TLS13, nil), answered(sec, session.TLS13)), s: lower(2*sec, session.TLS12)},
		{name: "decode_error is no refusal of a version", h: remember(try(0, session.TLS13, alert(50))), s: lower(sec, session.TLS12)},
		{name: "silence for half a second", h: remember(try(0, session.TLS13, silent)), s: lower(sec/2, session.TLS12)},
		{name: "another program on the host", h: remember(try(0, session.TLS13, nil)), s: change(lower(sec, session.TLS12), other)},
		{name: "another process", h: remember(try(0, session.TLS13, proc(811))), s: from(proc(812), lower(sec, session.TLS12))},
		{name: "the process of one is unknown", h: remember(try(0, session.TLS13, proc(811))), s: lower(sec, session.TLS12)},
		{name: "the suites of one are unknown", h: remember(try(0, session.TLS13, nil)), s: change(lower(sec, session.TLS12), func(s *session.Session) { s.TLS.OfferedCiphers = nil })},
		{name: "another endpoint at the same address", h: remember(try(0, session.TLS13, nil)), s: change(lower(sec, session.TLS12), sni("streams.dynamodb.us-east-1.amazonaws.com"))},
		{name: "another client", h: remember(try(0, session.TLS13, nil)), s: change(lower(sec, session.TLS12), func(s *session.Session) { s.Client = otherClient })},
		{name: "an answer may have been lost", h: remember(try(0, session.TLS13, func(s *session.Session) { s.Loss.GapBytes[session.Server] = 100 })), s: lower(sec, session.TLS12)},
		{name: "only the client's side was captured", h: remember(try(0, session.TLS13, func(s *session.Session) { s.Loss.OneSided = true })), s: lower(sec, session.TLS12)},
		{name: "no times", h: remember(try(0, session.TLS13, func(s *session.Session) { s.Start = time.Time{} })), s: change(lower(sec, session.TLS12), func(s *session.Session) { s.Start = time.Time{} })},
		{name: "no memory", s: lower(sec, session.TLS12)},
	})
	// The client with a healthy program does not hide the attack on another one.
	healthy := answered(sec, session.TLS13)
	healthy.TLS.OfferedCiphers = []uint16{0x1301, 0xc030}
	run(t, TLSDowngrade, []sample{{name: "another program is answered in between", h: remember(try(0, session.TLS13, nil), healthy),
		s: lower(2*sec, session.TLS12), want: session.Critical}})
}

func TestBaseline(t *testing.T) {
	day := 24 * time.Hour
	times := func(n int, f func(int) *session.Session) *Recent {
		r := NewRecent()
		for i := range n {
			r.Observe(f(i))
		}
		return r
	}
	usual := func(i int) *session.Session {
		return change(good13(), func(s *session.Session) { s.Start = t0.Add(time.Duration(i) * time.Minute) })
	}
	// now is a session an hour later that offers 1.3 like the others, and gets 1.2.
	now := func(f func(*session.Session)) *session.Session {
		s := capped(func(s *session.Session) {
			s.Start, s.TLS.JA4, s.TLS.KeyProof = t0.Add(time.Hour), "t13d", session.KeyProofValid
		})
		if f != nil {
			f(s)
		}
		return s
	}
	mixed := func(i int) *session.Session {
		if i%3 == 2 {
			return now(func(s *session.Session) { s.Start = t0.Add(time.Duration(i) * time.Minute) })
		}
		return usual(i)
	}
	program := func(s *session.Session) { fromProcess(s, 9, "/usr/bin/python3.11") }
	run(t, TLSDowngrade, []sample{
		{name: "1.3 as a rule, now 1.2", h: times(3, usual), s: now(nil), want: session.Critical, says: []string{"used to negotiate TLS 1.3"}},
		{name: "the chain is hidden by resumption", h: times(3, usual), s: now(func(s *session.Session) { hide(s, session.VisibilityResumed) }), want: session.Critical},
		{name: "the same program", h: times(3, func(i int) *session.Session { return change(usual(i), program) }), s: now(program), want: session.Critical},
		{name: "a lower one does not end the alarm", h: func() History { r := times(3, usual); r.Observe(now(nil)); return r }(), s: now(func(s *session.Session) { s.Start = s.Start.Add(time.Minute) }), want: session.Critical},

		{name: "seen twice is no rule", h: times(2, usual), s: now(nil)},
		{name: "now this, now that", h: times(12, mixed), s: now(nil)},
		{name: "the client offers less: it was changed", h: times(3, usual), s: now(func(s *session.Session) { s.TLS.OfferedMax, s.TLS.OfferedVersions = session.TLS12, nil })},
		{name: "another program's hello", h: times(3, usual), s: now(func(s *session.Session) { s.TLS.JA4 = "t13x" })},
		{name: "another endpoint", h: times(3, usual), s: now(func(s *session.Session) { s.Endpoint.Name = "dynamodb.eu-west-1.amazonaws.com" })},
		{name: "long ago", h: times(3, usual), s: now(func(s *session.Session) { s.Start = s.Start.Add(2 * day) })},
		{name: "the endpoint itself signs its choice", h: times(3, usual), s: now(func(s *session.Session) { s.Chain.LeadsToAllowed = true })},
		{name: "the chain was lost", h: times(3, usual), s: now(func(s *session.Session) {
			hide(s, session.VisibilityIncomplete)
			s.Loss.GapBytes[session.Server] = 1
		})},
		{name: "no fingerprint", h: times(3, usual), s: now(func(s *session.Session) { s.TLS.JA3, s.TLS.JA4 = "", "" })},
		{name: "no ServerHello", h: times(3, usual), s: now(func(s *session.Session) { s.TLS.ServerHelloSeen, s.TLS.Version = false, 0 })},
	})
}
