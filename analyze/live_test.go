package analyze

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

// live makes a change of Options for a live source, whose later findings go to found.
func live(found *[]string) func(*Options) {
	return func(o *Options) {
		o.Source, o.Live = "packet", true
		o.EmitFinding = func(_ *session.Session, f session.Finding) { *found = append(*found, f.Rule) }
	}
}

func TestALiveSessionComesOnceItIsSettled(t *testing.T) {
	d := handshake{max: 0x303}.dialogue(t)
	var found []string
	r := newRun(t, live(&found))
	w := newWire(clientAddr, dynamodbAddr).open().say(d, 0)
	for i := range w.segs {
		seg := w.segs[i]
		r.Segment(&seg)
	}
	s := r.only(t)
	if s.Verdict != session.VerdictOK || !s.TLS.ClientAppData || !s.Endpoint.Known() {
		t.Errorf("%s %+v", s.Verdict, *s.TLS)
	}
	r.feed(w.close().segs...)
	r.only(t)
	if len(found) != 0 {
		t.Errorf("findings %v", found)
	}
}

func TestALiveSessionDoesNotWaitForTheAnswer(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			d := handshake{max: version}.dialogue(t)
			request := 4 // after hello, flight, key exchange and Finished, Finished
			if version == tls.VersionTLS13 {
				request = 3 // after hello, flight, Finished
			}
			r := newRun(t, live(new([]string)))
			w := newWire(clientAddr, dynamodbAddr).open().say(d[:request], 0)
			r.feedOpen(w.segs)
			r.none(t)
			n := len(w.segs)
			r.feedOpen(w.say(d[request:request+1], 0).segs[n:])
			s := r.only(t)
			if s.TLS.Version != session.Version(version) || s.TLS.Established != session.Yes || !s.TLS.ClientAppData || len(s.Findings) > 0 {
				t.Errorf("%+v, findings %v", *s.TLS, ruleIDs(s))
			}
		})
	}
}

func TestALiveSocketsSessionComesWithItsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		cookie uint64
		want   int
	}{"socket": {77, 1}, "packets, which may come in another order": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			d := handshake{max: tls.VersionTLS12}.dialogue(t)
			r := newRun(t, live(new([]string)))
			w := newWire(clientAddr, dynamodbAddr).open().say(d[:4], 0).close()
			for i := range w.segs {
				w.segs[i].Cookie = test.cookie
			}
			r.feedOpen(w.segs)
			if len(r.sessions) != test.want {
				t.Fatalf("%d sessions, want %d", len(r.sessions), test.want)
			}
			r.Advance(w.now.UnixNano() + 2*lingering)
			if s := r.only(t); s.TLS.Established != session.Yes || !s.Ended.FIN || s.Ended.By != session.Client {
				t.Errorf("%+v, ended %+v", *s.TLS, s.Ended)
			}
		})
	}
}

// The kernel tells no more of a socket that its program has closed, so the server's FIN may never come.
func TestAFlowThatOneSideEndedIsNotReadForever(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fin   bool
		after int // seconds
		reads int
	}{
		{"open", false, idleFinished + 1, 1},
		{"half closed", true, idleFinished - 1, 1},
		{"half closed for long", true, idleFinished + 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var found []string
			r := newRun(t, live(&found))
			w := newWire(clientAddr, dynamodbAddr).open().send(fromClient, "\x16\x03\x01 is no hello", 0)
			if tt.fin {
				w.add(fromClient, flow.FIN|flow.ACK, w.seq[fromClient], "")
			}
			r.feedOpen(w.segs)
			for range 2 * partLen { // a part of the table each time
				r.Advance(w.now.Add(time.Duration(tt.after) * time.Second).UnixNano())
			}
			if n := r.Usage().Reading; n != tt.reads {
				t.Errorf("%d flows are read", n)
			}
		})
	}
}

func TestALiveRefusalIsFoundLater(t *testing.T) {
	d := handshake{max: 0x303, verify: true, certificate: &testPKI().evil}.dialogue(t)
	var found []string
	r := newRun(t, live(&found))
	w := newWire(clientAddr, dynamodbAddr).open().say(d[:len(d)-1], 0)
	r.feedOpen(w.segs)
	r.Advance(w.now.UnixNano() + 2*quietFor)
	r.none(t) // the client has not said yet what it thinks of the certificate
	r.Advance(w.now.UnixNano() + unsettledFor)
	if s := r.only(t); s.Verdict != session.VerdictFinding {
		t.Errorf("verdict %s", s.Verdict)
	}
	n := len(w.segs)
	w.say(d[len(d)-1:], 0).close()
	r.feed(w.segs[n:]...)
	r.only(t)
	if len(found) != 1 || found[0] != "interception-refused" {
		t.Errorf("later findings %v", found)
	}
}

func TestALiveHandshakeWithoutApplicationDataComesAfterAWhile(t *testing.T) {
	d := handshake{max: 0x303}.dialogue(t)
	r := newRun(t, live(new([]string)))
	w := newWire(clientAddr, dynamodbAddr).open().say(d[:4], 0)
	r.feedOpen(w.segs)
	r.none(t)
	r.Advance(w.now.UnixNano() + 2*quietFor)
	if s := r.only(t); s.Verdict != session.VerdictOK || s.TLS.Established != session.Yes {
		t.Errorf("verdict %s, established %d", s.Verdict, s.TLS.Established)
	}
}

// The clock that dates packets may be set while a server thinks, or the host wakes up; the time that a live source tells goes on as before.
func TestALiveHandshakeIsNotCutWhereTheClockIsSet(t *testing.T) {
	d := handshake{max: tls.VersionTLS12}.dialogue(t)
	for name, step := range map[string]time.Duration{
		"not set": 0, "back by a minute": -time.Minute, "back by an hour": -time.Hour, "forward by a minute": time.Minute, "forward by a day": 24 * time.Hour,
	} {
		for when, at := range map[string]int{"before it": 0, "after the hello": 1} {
			t.Run(name+", "+when, func(t *testing.T) {
				r := newRun(t, live(new([]string)))
				now := start.UnixNano() // what it begins with does not matter
				advance := func(d time.Duration) {
					now += int64(d)
					r.Advance(now)
				}
				feed := func(segs []flow.Segment) {
					for i := range segs {
						r.Analyzer.Segment(&segs[i])
					}
				}
				advance(0)
				feed(newWire("10.0.0.5:40113", dynamodbAddr).open().segs) // dated by the clock as it was
				w := newWire(clientAddr, dynamodbAddr)
				if at == 0 {
					w.now = w.now.Add(step)
				}
				w.open().say(d[:1], 0)
				n := len(w.segs)
				feed(w.segs)
				if at == 1 {
					w.now = w.now.Add(step)
				}
				for range 10 { // half a second
					advance(50 * time.Millisecond)
				}
				r.none(t)
				feed(w.say(d[1:4], 0).segs[n:])
				advance(50 * time.Millisecond)
				r.none(t) // the client may still build upon it
				n = len(w.segs)
				feed(w.say(d[4:], 0).segs[n:])
				if s := r.only(t); s.Verdict != session.VerdictOK || !s.TLS.ClientAppData {
					t.Errorf("verdict %s, certificate %s", s.Verdict, s.Visibility)
				}
			})
		}
	}
}

// What waits for something that never comes waits no longer, whatever the clock of the packets does.
func TestALiveSessionComesAfterAWhileWhereTheClockIsSetBack(t *testing.T) {
	d := handshake{max: tls.VersionTLS12}.dialogue(t)
	r := newRun(t, live(new([]string)))
	r.Advance(int64(time.Hour))
	early, late := newWire("10.0.0.5:40113", dynamodbAddr).open(), newWire(clientAddr, dynamodbAddr)
	late.now = start.Add(-time.Hour)
	for _, seg := range append(early.segs, late.open().say(d[:4], 0).segs...) {
		r.Analyzer.Segment(&seg)
	}
	r.Advance(int64(time.Hour) + quietFor - 1)
	r.none(t)
	r.Advance(int64(time.Hour) + quietFor)
	if s := r.only(t); s.TLS.Established != session.Yes || !s.Start.Before(start) {
		t.Errorf("%+v, begun %v", *s.TLS, s.Start)
	}
}

func TestTheOwnerOfAConnectionIsItsOwn(t *testing.T) {
	d := handshake{}.dialogue(t)
	owner := &flow.Opening{Process: flow.Process{PID: 7}}
	first := newWire(clientAddr, dynamodbAddr)
	first.open().segs[0].Opening = owner
	second := newWire(clientAddr, dynamodbAddr)
	second.seq[fromClient] += 77777
	second.open()
	var found []string

	r := newRun(t, live(&found)).feed(append(append([]flow.Segment(nil), first.segs...), newWire(clientAddr, dynamodbAddr).open().say(d, 0).segs...)...)
	if s := r.only(t); s.Process == nil || s.Process.PID != 7 {
		t.Errorf("process %+v", s.Process)
	}
	r = newRun(t, live(&found)).feed(append(append([]flow.Segment(nil), first.segs...), second.say(d, 0).segs...)...)
	if s := r.only(t); s.Process != nil {
		t.Errorf("process %+v of the connection before", s.Process)
	}
	if len(r.openings) != 0 {
		t.Errorf("%d owners are left", len(r.openings))
	}
}

func TestTheOwnerStaysWhereAResetIsIgnored(t *testing.T) {
	d := handshake{}.dialogue(t)
	for _, tt := range []struct {
		name   string
		opened bool // the reset comes after the three-way handshake, else after the SYN
		from   int
		flags  flow.TCPFlags
		beside uint32 // the number that would end the connection
		keeps  bool
	}{
		{"the server's, forged", true, fromServer, flow.RST, 77777, true},
		{"the client's, forged", true, fromClient, flow.RST, 77777, true},
		{"the server's", true, fromServer, flow.RST, 0, false},
		{"the client's", true, fromClient, flow.RST | flow.ACK, 0, false},
		{"a refusal, forged", false, fromServer, flow.RST | flow.ACK, 77777, true},
		{"a refusal without a number", false, fromServer, flow.RST, 0, true},
		{"a refusal", false, fromServer, flow.RST | flow.ACK, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, live(new([]string)))
			w := newWire(clientAddr, dynamodbAddr).open()
			w.segs[0].Opening = &flow.Opening{Process: flow.Process{PID: 7}}
			n := 1
			if tt.opened {
				n = len(w.segs)
			}
			r.feedOpen(w.segs[:n])
			reset := *w.add(tt.from, tt.flags, w.seq[tt.from], "")
			if tt.opened {
				reset.Seq += tt.beside
			} else {
				reset.Ack += tt.beside
			}
			rest := append(append([]flow.Segment{reset}, w.segs[n:len(w.segs)-1]...), newWire(clientAddr, dynamodbAddr).open().say(d, 0).segs[3:]...)
			r.feedOpen(rest[:1])
			if kept := len(r.openings) == 1; kept != tt.keeps {
				t.Errorf("the owner is kept: %t", kept)
			}
			r.feed(rest[1:]...)
			if s := r.only(t); (s.Process != nil) != tt.keeps {
				t.Errorf("process %+v", s.Process)
			}
			if len(r.openings) != 0 {
				t.Errorf("%d owners are left", len(r.openings))
			}
		})
	}
}

// oursOrNot runs a test over a handshake with DynamoDB's name at server, and over one with another name at another address.
func oursOrNot(t *testing.T, server string, test func(t *testing.T, ours bool, r *run, w *wire)) {
	for _, c := range []struct {
		name, sni, server string
		ours              bool
	}{
		{"ours", "dynamodb.us-east-1.amazonaws.com", server, true},
		{"another service", "example.com", farAddr, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := handshake{max: 0x303, sni: c.sni}.dialogue(t)
			test(t, c.ours, newRun(t, live(new([]string))), newWire(clientAddr, c.server).open().say(d, 0))
		})
	}
}

func TestFollowsUntilAFlowIsJudgedOrNoneOfOurs(t *testing.T) {
	oursOrNot(t, dynamodbAddr, func(t *testing.T, ours bool, r *run, w *wire) {
		if r.Follows(&w.segs[0].FiveTuple, 77) {
			t.Error("a flow that nobody has seen is followed")
		}
		followed := 0
		for i := range w.segs {
			seg := w.segs[i]
			seg.Cookie = 77
			r.Segment(&seg)
			back := seg.Reverse()
			if r.Follows(&seg.FiveTuple, 77) != r.Follows(&back, 77) || r.Follows(&seg.FiveTuple, 78) {
				t.Fatal("it hangs on the direction, or does not on the socket")
			}
			if r.Follows(&seg.FiveTuple, 77) {
				followed++
			}
		}
		if followed < 3 || followed == len(w.segs) {
			t.Errorf("followed for %d of %d packets", followed, len(w.segs))
		}
		if !ours {
			r.none(t)
		} else if s := r.only(t); s.Cookie != 77 {
			t.Errorf("cookie %d", s.Cookie)
		}
	})
}

func TestAFlowIsJudgedAsSoonAsItsNameIsKnown(t *testing.T) {
	oursOrNot(t, farAddr, func(t *testing.T, ours bool, r *run, w *wire) {
		if _, known := r.Judged(&w.segs[0].FiveTuple, 77); known {
			t.Error("a flow that nobody has seen is judged")
		}
		for i := range w.segs {
			seg := w.segs[i]
			seg.Cookie = 77
			r.Segment(&seg)
			is, known := r.Judged(&seg.FiveTuple, 77)
			back := seg.Reverse()
			if is2, known2 := r.Judged(&back, 77); is2 != is || known2 != known {
				t.Fatal("it hangs on the direction")
			}
			if _, known := r.Judged(&seg.FiveTuple, 78); known {
				t.Fatal("it does not hang on the socket")
			}
			named := i >= 3 // the fourth packet is the ClientHello
			if want := named && (!ours || r.Follows(&seg.FiveTuple, 77)); known != want || is != (want && ours) {
				t.Fatalf("packet %d: ours %v, known %v", i+1, is, known)
			}
		}
	})
}

// liveWith is live with a key log.
func liveWith(found *[]string, keys *tlswire.KeyLog) func(*Options) {
	return func(o *Options) {
		live(found)(o)
		o.Secrets = keys
	}
}

// TestALiveSessionWaitsForItsSecrets: programs write them down before or after dynwatch has seen the handshake.
func TestALiveSessionWaitsForItsSecrets(t *testing.T) {
	var log bytes.Buffer
	evil := handshake{max: 0x304, keylog: &log, certificate: &testPKI().evil}.dialogue(t)
	for _, c := range []struct {
		name       string
		at         time.Duration // of the secrets, after the last packet
		visibility session.Visibility
		late       bool
	}{
		{"before the handshake", -1, session.VisibilityDecrypted, false},
		{"right after it", 0, session.VisibilityDecrypted, false},
		{"a second after it", time.Second, session.VisibilityDecrypted, false},
		{"too late", 5 * time.Second, session.VisibilityEncrypted, true},
		{"never", time.Hour, session.VisibilityEncrypted, false},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy %v", c.name, busy), func(t *testing.T) {
				keys := tlswire.NewKeyLog(0)
				var found []string
				r := newRun(t, liveWith(&found, keys))
				if c.at < 0 {
					keys.Write(log.Bytes())
				}
				w := newWire(clientAddr, dynamodbAddr).open().say(evil, 0)
				r.feedOpen(w.segs)
				end := w.now
				for step := 50 * time.Millisecond; step < 8*time.Second; step += 50 * time.Millisecond {
					if c.at >= 0 && step > c.at {
						keys.Write(log.Bytes())
					}
					if busy { // a client that polls leaves no pause
						n := len(w.segs)
						w.now = end.Add(step)
						for from := range 2 {
							w.say(synth.Dialogue{{FromClient: from == 0, Data: append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...)}}, 0)
						}
						r.feedOpen(w.segs[n:])
					}
					r.Advance(end.Add(step).UnixNano())
				}
				s := r.only(t)
				if s.Visibility != c.visibility {
					t.Errorf("certificate %s, want %s", s.Visibility, c.visibility)
				}
				told := hasRule(s.Findings, "unexpected-issuer")
				if told != (c.visibility == session.VisibilityDecrypted) {
					t.Errorf("findings of the session %v", s.Findings)
				}
				if later := slices.Contains(found, "unexpected-issuer"); later != c.late {
					t.Errorf("later findings %v", found)
				}
				missing := map[bool]uint64{true: 1}[c.visibility == session.VisibilityEncrypted]
				if st := r.Stats(); st.SecretsMissing != missing || st.SecretsLate != map[bool]uint64{true: 1}[c.late] {
					t.Errorf("missing %d, late %d", st.SecretsMissing, st.SecretsLate)
				}
				if s.Visibility == session.VisibilityDecrypted && (s.Certificate == nil || s.Certificate.SeenBy != "keylog") {
					t.Errorf("certificate %+v", s.Certificate)
				}
			})
		}
	}
}

// TestASessionThatEndsAtOnceGetsItsSecrets: a short connection is over before its program has flushed what it writes.
func TestASessionThatEndsAtOnceGetsItsSecrets(t *testing.T) {
	var log bytes.Buffer
	d := handshake{max: 0x304, keylog: &log}.dialogue(t)
	keys := tlswire.NewKeyLog(0)
	var found []string
	r := newRun(t, liveWith(&found, keys))
	w := newWire(clientAddr, dynamodbAddr).open().say(d, 0).close()
	r.feedOpen(w.segs)
	r.none(t)
	keys.Write(log.Bytes())
	r.Advance(w.now.UnixNano() + 2*quietFor)
	if s := r.only(t); s.Visibility != session.VisibilityDecrypted {
		t.Errorf("certificate %s", s.Visibility)
	}
}
