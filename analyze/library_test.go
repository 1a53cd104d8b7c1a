package analyze

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

// randomOf is the random of a dialogue's ClientHello: behind record header, handshake header and version.
func randomOf(t *testing.T, d synth.Dialogue) (random [32]byte) {
	t.Helper()
	if len(d) == 0 || !d[0].FromClient || len(d[0].Data) < 43 {
		t.Fatal("the dialogue does not begin with a ClientHello")
	}
	return [32]byte(d[0].Data[11:43])
}

func TestWhatALibraryToldBelongsToItsHandshakeOnly(t *testing.T) {
	p := testPKI()
	const pid = 7
	for _, c := range []struct {
		name       string
		handshake  handshake
		chain      tls.Certificate
		change     func(*flow.Library)
		owner      int
		visibility session.Visibility
		seenBy     string
		trust      session.Trust
		verifies   session.Tri
		verdict    session.Verdict
		rules      []string
	}{
		{"TLS 1.3, a good chain and a client that verifies", handshake{}, p.server, nil, pid,
			session.VisibilityEncrypted, "library", session.TrustAllowed, session.Yes, session.VerdictOK, nil},
		{"TLS 1.3, a rogue chain", handshake{certificate: &p.evil}, p.evil, nil, pid,
			session.VisibilityEncrypted, "library", session.TrustPrivate, session.Yes, session.VerdictFinding, []string{"unexpected-issuer"}},
		{"TLS 1.3, a good chain and a client that does not verify", handshake{}, p.server,
			func(l *flow.Library) { l.Verification, l.VerificationBy = flow.VerificationOff, "x" }, pid,
			session.VisibilityEncrypted, "library", session.TrustAllowed, session.No, session.VerdictFinding, []string{"verification-disabled"}},
		{"TLS 1.3, a client of which nothing is known", handshake{}, p.server,
			func(l *flow.Library) { l.Verification, l.VerificationBy = flow.VerificationUnknown, "" }, pid,
			session.VisibilityEncrypted, "library", session.TrustAllowed, session.Unknown, session.VerdictOK, nil},
		{"TLS 1.3, no owner known", handshake{}, p.server, nil, 0,
			session.VisibilityEncrypted, "library", session.TrustAllowed, session.Yes, session.VerdictOK, nil},
		{"TLS 1.3, the chain was not captured", handshake{}, tls.Certificate{}, nil, pid,
			session.VisibilityEncrypted, "", session.TrustUnseen, session.Yes, session.VerdictUnverified, nil},
		{"TLS 1.2, where the wire shows the chain", handshake{max: tls.VersionTLS12}, p.evil, nil, pid,
			session.VisibilityVisible, "wire", session.TrustAllowed, session.Yes, session.VerdictOK, nil},
		{"another random", handshake{}, p.evil, func(l *flow.Library) { l.Random[0]++ }, pid,
			session.VisibilityEncrypted, "", session.TrustUnseen, session.Unknown, session.VerdictUnverified, nil},
		{"another process: the server's end", handshake{}, p.evil, nil, pid + 1,
			session.VisibilityEncrypted, "", session.TrustUnseen, session.Unknown, session.VerdictUnverified, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.handshake.dialogue(t)
			l := &flow.Library{Random: randomOf(t, d), PID: pid, TID: 8, Name: "OpenSSL 3.0.19", Path: "/x/libssl.so.3", Chain: c.chain.Certificate,
				Verification: flow.VerificationOn, VerificationBy: "x"}
			if c.change != nil {
				c.change(l)
			}
			w := newWire(clientAddr, dynamodbAddr).open().say(d, 0).close()
			w.segs[0].Opening = &flow.Opening{Process: flow.Process{PID: c.owner}}
			r := newRun(t, nil)
			r.Library(l)
			s := r.feed(w.segs...).only(t)
			if s.Visibility != c.visibility || s.Trust != c.trust || s.TLS.ClientVerifies != c.verifies || s.Verdict != c.verdict {
				t.Errorf("%s %s %d %s", s.Visibility, s.Trust, s.TLS.ClientVerifies, s.Verdict)
			}
			if ids := ruleIDs(s); !slices.Equal(ids, c.rules) {
				t.Errorf("findings %v", ids)
			}
			seenBy := ""
			if s.Certificate != nil {
				seenBy = s.Certificate.SeenBy
			}
			if seenBy != c.seenBy {
				t.Errorf("seen by %q", seenBy)
			}
		})
	}
}

func TestANameThatWasToldAndIsNotTheClientHellos(t *testing.T) {
	const pid = 7
	for _, c := range []struct {
		name     string
		told     string
		apart    bool
		want     string
		differs  bool
		verifies session.Tri
	}{
		{"the same", dynamodbName, true, dynamodbName, false, session.Yes},
		{"in capitals, with a dot at its end", "DYNAMODB.us-east-1.amazonaws.com.", true, "DYNAMODB.us-east-1.amazonaws.com.", false, session.Yes},
		{"none was seen", "", true, "", false, session.Yes},
		{"another, found by itself", "hidden.example", true, "hidden.example", true, session.Yes},
		{"another, beside all else", "hidden.example", false, "", false, session.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := handshake{}.dialogue(t)
			r := newRun(t, nil)
			r.Library(&flow.Library{Random: randomOf(t, d), PID: pid, ServerName: c.told, NameApart: c.apart, HostChecked: true, Host: "x",
				Verification: flow.VerificationOn, VerificationBy: "x"})
			s := r.feed(newWire(clientAddr, dynamodbAddr).open().say(d, 0).close().segs...).only(t)
			if l := s.Library; l == nil || l.ServerName != c.want || l.NameDiffers != c.differs || l.HostChecked != (c.verifies == session.Yes) {
				t.Errorf("%+v", l)
			}
			if s.TLS.ClientVerifies != c.verifies {
				t.Errorf("verifies is %d", s.TLS.ClientVerifies)
			}
		})
	}
}

func TestAClientThatLeavesHasNotAccepted(t *testing.T) {
	d := handshake{certificate: &testPKI().evil, verify: false}.dialogue(t)
	l := &flow.Library{Random: randomOf(t, d), PID: 7, Verification: flow.VerificationOff, VerificationBy: "x"}
	handshakeOnly := d[:min(len(d), 3)]
	r := newRun(t, nil)
	r.Library(l)
	s := r.feed(newWire(clientAddr, dynamodbAddr).open().say(handshakeOnly, 0).close().segs...).only(t)
	if s.TLS.ClientAppData {
		t.Fatal("the dialogue has data")
	}
	if s.TLS.ClientVerifies != session.Unknown || s.Library == nil || s.Library.VerificationBy != "" {
		t.Errorf("%d %+v", s.TLS.ClientVerifies, s.Library)
	}
}

func TestWhatALibraryToldIsForgottenWithItsFlow(t *testing.T) {
	d := handshake{}.dialogue(t)
	l := &flow.Library{Random: randomOf(t, d), PID: 7, Chain: testPKI().server.Certificate}
	for _, tt := range []struct {
		name  string
		owner int
		kept  bool
	}{{"its process's", 7, false}, {"a proxy's, which carries the same ClientHello", 8, true}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(clientAddr, dynamodbAddr).open().say(d, 0).close()
			w.segs[0].Opening = &flow.Opening{Process: flow.Process{PID: tt.owner}}
			r := newRun(t, nil)
			r.Library(l)
			r.feed(w.segs...).only(t)
			if kept := r.libraries.find(l.Random) != nil; kept != tt.kept || kept != (r.libraries.chains > 0) {
				t.Errorf("kept %t, %d bytes of chains", kept, r.libraries.chains)
			}
		})
	}
}

func TestLibrariesAreForgotten(t *testing.T) {
	var l libraries
	for i := range 3 * maxLibraries {
		l.put(&flow.Library{Random: [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}})
	}
	if n := len(l.newer) + len(l.older); n > 2*maxLibraries {
		t.Errorf("%d are kept", n)
	}
	last := 3*maxLibraries - 1
	if l.find([32]byte{byte(last), byte(last >> 8), byte(last >> 16)}) == nil {
		t.Error("the last is gone")
	}
	l = libraries{}
	chain := [][]byte{make([]byte, 1<<16)}
	for i := range 1000 {
		l.put(&flow.Library{Random: [32]byte{byte(i), byte(i >> 8)}, Chain: chain})
	}
	if n := (len(l.newer) + len(l.older)) * len(chain[0]); n > 2*(maxLibraryChains+len(chain[0])) {
		t.Errorf("chains of %d bytes are kept", n)
	}
}
