package rules

import (
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
)

func TestVerdict(t *testing.T) {
	g12 := func(f func(*session.Session)) *session.Session { return change(good12(), f) }
	g13 := func(f func(*session.Session)) *session.Session { return change(good13(), f) }
	shown := func(by string, v session.Visibility) *session.Session {
		return g13(func(s *session.Session) {
			g := good12()
			s.Certificate, s.Chain, s.Trust, s.Visibility = g.Certificate, g.Chain, g.Trust, v
			s.Certificate.SeenBy = by
		})
	}
	for _, c := range []struct {
		name string
		s    *session.Session
		want session.Verdict
	}{
		{"all seen, all right", good12(), session.VerdictOK},
		{"an allowed CA", g12(func(s *session.Session) {
			s.Trust, s.Chain.LeadsToAmazon, s.Chain.AllowedBy = session.TrustAllowed, false, "allow-ca"
		}), session.VerdictOK},
		{"TLS 1.3 with a key log", shown("keylog", session.VisibilityDecrypted), session.VerdictOK},
		{"TLS 1.3 seen inside the library", shown("library", session.VisibilityEncrypted), session.VerdictOK},
		{"resumed from a session that was judged", shown("resumption", session.VisibilityResumed), session.VerdictOK},
		{"TLS 1.2 resumed from a session that was proven", g12(func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy, s.TLS.Resumed = session.VisibilityResumed, "resumption", session.Yes
		}), session.VerdictOK},
		{"TLS 1.2 resumed from a session without proof", g12(func(s *session.Session) {
			s.Visibility, s.Certificate.SeenBy, s.TLS.Resumed, s.TLS.KeyProof = session.VisibilityResumed, "resumption", session.Yes, session.KeyProofNone
		}), session.VerdictUnverified},
		{"evicted after everything was seen", g12(func(s *session.Session) { s.Loss.Evicted = true }), session.VerdictOK},
		{"a keep-alive's odd byte", g12(func(s *session.Session) { s.Loss.ConflictBytes[0] = 1 }), session.VerdictOK},
		{"the SYN is missing, the hellos are not", g12(func(s *session.Session) { s.Loss.Midstream = true }), session.VerdictOK},

		{"TLS 1.3 in a file", good13(), session.VerdictUnverified},
		{"TLS 1.3, SYN missing", g13(func(s *session.Session) { s.Loss.Midstream = true }), session.VerdictUnverified},
		{"resumed from nobody knows where", g12(func(s *session.Session) { hide(s, session.VisibilityResumed); s.TLS.Resumed = session.Yes }), session.VerdictUnverified},
		{"a reset before the ServerHello", try(0, session.TLS13, nil), session.VerdictUnverified},
		{"given up before the Finished", g12(func(s *session.Session) { s.TLS.Established = session.No }), session.VerdictUnverified},
		{"establishment unknown", g12(func(s *session.Session) { s.TLS.Established = session.Unknown }), session.VerdictUnverified},
		{"no plausible time", g12(func(s *session.Session) { s.Chain.TimeUnknown = true }), session.VerdictUnverified},
		{"a proof that cannot be checked", g12(func(s *session.Session) { s.TLS.KeyProof = session.KeyProofUnsupported }), session.VerdictUnverified},
		{"no proof", g12(func(s *session.Session) { s.TLS.KeyProof = session.KeyProofNone }), session.VerdictUnverified},
		{"a word of trust that does not fit", g12(func(s *session.Session) { s.Trust = session.TrustUnseen }), session.VerdictUnverified},
		{"unparsable", g12(func(s *session.Session) { hide(s, session.VisibilityUnparsable) }), session.VerdictUnverified},
		{"unknown bytes to the ranges", g12(func(s *session.Session) { s.TLS, s.Transport = nil, session.TransportUnknown; hide(s, "") }), session.VerdictUnverified},

		{"the certificate is cut", g12(func(s *session.Session) { hide(s, session.VisibilityIncomplete) }), session.VerdictIncomplete},
		{"bytes are missing", g12(func(s *session.Session) { s.Loss.GapBytes[session.Server] = 1 }), session.VerdictIncomplete},
		{"cut by the snap length", g13(func(s *session.Session) { s.Loss.TruncatedPackets = 1 }), session.VerdictIncomplete},
		{"one side only", g13(func(s *session.Session) { s.Loss.OneSided = true }), session.VerdictIncomplete},
		{"began before we looked", g13(func(s *session.Session) {
			s.Loss.Midstream, s.TLS.ClientHelloSeen, s.TLS.ServerHelloSeen = true, false, false
		}), session.VerdictIncomplete},
		{"no ClientHello", g12(func(s *session.Session) { s.TLS.ClientHelloSeen = false }), session.VerdictIncomplete},
		{"unknown bytes from mid-stream", g12(func(s *session.Session) {
			s.TLS, s.Transport, s.Loss.Midstream = nil, session.TransportUnknown, true
			hide(s, "")
		}), session.VerdictIncomplete},
		{"evicted inside the handshake", g12(func(s *session.Session) { s.TLS.Established, s.Loss.Evicted = session.No, true }), session.VerdictIncomplete},
		{"two versions of the stream", g12(func(s *session.Session) { s.Loss.ConflictBytes[session.Server] = 40 }), session.VerdictIncomplete},

		{"intercepted", intercepted(), session.VerdictFinding},
		{"intercepted, and bytes are missing", change(intercepted(), func(s *session.Session) { s.Loss.GapBytes[0] = 1 }), session.VerdictFinding},
		{"plaintext", plain(), session.VerdictFinding},
		{"not DynamoDB's", change(intercepted(), func(s *session.Session) { s.Endpoint = session.Endpoint{} }), session.VerdictNotApplicable},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Evaluate(&Input{Session: c.s})
			if got := Verdict(c.s, f); got != c.want {
				t.Errorf("%s, want %s; findings %v", got, c.want, f)
			}
		})
	}
}

// A verdict is ok only if every single one of the facts that it rests on was seen.
func TestVerdictOKNeedsEverything(t *testing.T) {
	for name, spoil := range map[string]func(*session.Session){
		"ClientHello":  func(s *session.Session) { s.TLS.ClientHelloSeen = false },
		"ServerHello":  func(s *session.Session) { s.TLS.ServerHelloSeen = false },
		"chain":        func(s *session.Session) { s.Chain = nil },
		"certificate":  func(s *session.Session) { s.Certificate = nil },
		"whole leaf":   func(s *session.Session) { s.Certificate.Partial = true },
		"dates":        func(s *session.Session) { s.Chain.Expired = true },
		"start":        func(s *session.Session) { s.Chain.NotYetValid = true },
		"name":         func(s *session.Session) { s.Chain.NameMismatch = true },
		"root":         func(s *session.Session) { s.Chain.LeadsToAllowed = false },
		"established":  func(s *session.Session) { s.TLS.Established = session.Unknown },
		"proof":        func(s *session.Session) { s.TLS.KeyProof = session.KeyProofNone },
		"trust":        func(s *session.Session) { s.Trust = "" },
		"visibility":   func(s *session.Session) { s.Visibility = "" },
		"seen by":      func(s *session.Session) { s.Certificate.SeenBy, s.Visibility = "", session.VisibilityEncrypted },
		"purpose":      func(s *session.Session) { s.Chain.WrongPurpose = true },
		"time":         func(s *session.Session) { s.Chain.TimeUnknown = true },
		"client bytes": func(s *session.Session) { s.Loss.GapBytes[session.Client] = 1 },
		"server bytes": func(s *session.Session) { s.Loss.GapBytes[session.Server] = 1 },
	} {
		s := good12()
		spoil(s)
		if v := Verdict(s, nil); v == session.VerdictOK {
			t.Errorf("ok without the %s", name)
		}
	}
	if v := Verdict(good12(), nil); v != session.VerdictOK {
		t.Errorf("with everything: %s", v)
	}
	if d := good12().End.Sub(t0); d > time.Hour {
		t.Error("the sample is no short session")
	}
}
