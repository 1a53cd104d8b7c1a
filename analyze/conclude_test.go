package analyze

import (
	"crypto/tls"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

// message is a handshake message, record a record of TLS 1.2 around messages.
func message(typ byte, body string) string {
	return string([]byte{typ, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}) + body
}

func record(typ byte, messages ...string) string {
	body := strings.Join(messages, "")
	return string([]byte{typ, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
}

// serverHello chooses a suite, and a session id.
func serverHello(suite uint16, id string) string {
	b := "\x03\x03" + strings.Repeat("\x5a", 32) + string([]byte{byte(len(id))}) + id
	return message(2, b+string(binary.BigEndian.AppendUint16(nil, suite))+"\x00")
}

// vector24 puts a length of three bytes before s.
func vector24(s string) string {
	return string([]byte{byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))}) + s
}

// finished is a ChangeCipherSpec and an encrypted Finished.
const finished = "\x14\x03\x03\x00\x01\x01\x16\x03\x03\x00\x28" + "0123456789012345678901234567890123456789"

// appData is an encrypted record of application data.
const appData = "\x17\x03\x03\x00\x20" + "01234567890123456789012345678901"

const (
	anonymousSuite = 0x0034 // TLS_DH_anon_WITH_AES_128_CBC_SHA
	pskSuite       = 0x008c // TLS_PSK_WITH_AES_128_CBC_SHA
	ecdheSuite     = 0xc02b // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
)

func TestWhyTheCertificateIsSeenOrNot(t *testing.T) {
	p := testPKI()
	tls12, tls13 := handshake{max: 0x303}.dialogue(t), handshake{}.dialogue(t)
	hello := string(tls12[0].Data)
	thief := tls.Certificate{Certificate: p.server.Certificate, PrivateKey: p.evil.PrivateKey}
	var log keyLog
	logged := handshake{keylog: &log}.dialogue(t)
	for _, tt := range []struct {
		name       string
		secrets    bool
		segs       func(w *wire)
		visibility session.Visibility
		trust      session.Trust
		proof      session.KeyProof
		verdict    session.Verdict
	}{
		{"TLS 1.2", false, func(w *wire) { w.say(tls12, 0).close() }, "visible", "allowed", session.KeyProofValid, "ok"},
		{"TLS 1.2 with an RSA key", false, func(w *wire) { w.say(handshake{max: 0x303, certificate: &p.rsa}.dialogue(t), 0).close() },
			"visible", "allowed", session.KeyProofValid, "ok"},
		{"TLS 1.2 without forward secrecy", false, func(w *wire) {
			w.say(handshake{max: 0x303, certificate: &p.rsa, suites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}.dialogue(t), 0).close()
		}, "visible", "allowed", session.KeyProofNone, "finding"},
		{"TLS 1.1", false, func(w *wire) { w.say(handshake{max: 0x302}.dialogue(t), 0).close() }, "visible", "allowed", session.KeyProofValid, "finding"},
		{"a genuine chain, the key of somebody else", false, func(w *wire) { w.say(handshake{max: 0x303, certificate: &thief}.dialogue(t), 0).close() },
			"visible", "allowed", session.KeyProofInvalid, "finding"},
		{"a chain of nobody's", false, func(w *wire) { w.say(handshake{max: 0x303, certificate: &p.evil}.dialogue(t), 0).close() },
			"visible", "private", session.KeyProofValid, "finding"},
		{"TLS 1.3", false, func(w *wire) { w.say(tls13, 0).close() }, "encrypted", "unseen", session.KeyProofNone, "unverified"},
		{"TLS 1.3 with its secrets", true, func(w *wire) { w.say(logged, 0).close() }, "decrypted", "allowed", session.KeyProofValid, "ok"},
		{"TLS 1.3 with the secrets of another", true, func(w *wire) { w.say(tls13, 0).close() }, "encrypted", "unseen", session.KeyProofNone, "unverified"},
		{"TLS 1.2 where secrets are at hand", true, func(w *wire) { w.say(tls12, 0).close() }, "visible", "allowed", session.KeyProofValid, "ok"},
		{"resumed", false, func(w *wire) {
			id := strings.Repeat("\x77", 32)
			w.send(fromClient, withSessionID(t, hello, id), 0).send(fromServer, record(22, serverHello(ecdheSuite, id))+finished, 0)
			w.send(fromClient, finished+appData, 0).close()
		}, "resumed", "unseen", session.KeyProofNone, "unverified"},
		{"an anonymous suite", false, func(w *wire) {
			w.send(fromClient, hello, 0).send(fromServer, record(22, serverHello(anonymousSuite, ""), message(12, "key exchange"), message(14, "")), 0)
			w.send(fromClient, record(22, message(16, "key exchange"))+finished, 0).send(fromServer, finished, 0).close()
		}, "none", "unseen", session.KeyProofNone, "finding"},
		{"a shared key", false, func(w *wire) {
			w.send(fromClient, hello, 0).send(fromServer, record(22, serverHello(pskSuite, ""), message(14, "")), 0)
			w.send(fromClient, record(22, message(16, "identity"))+finished, 0).send(fromServer, finished, 0).close()
		}, "none", "unseen", session.KeyProofNone, "finding"},
		{"the server refuses", false, func(w *wire) {
			w.send(fromClient, hello, 0).send(fromServer, "\x15\x03\x03\x00\x02\x02\x28", 0).close()
		},
			"none", "unseen", session.KeyProofNone, "unverified"},
		{"no answer at all", false, func(w *wire) { w.send(fromClient, hello, 0) }, "none", "unseen", session.KeyProofNone, "unverified"},
		{"no answer that was captured, but acknowledged", false, func(w *wire) {
			w.send(fromClient, hello, 0)
			w.seq[fromServer] += 3000
			w.ack(fromClient)
		}, "incomplete", "unseen", session.KeyProofNone, "incomplete"},
		{"a part of the certificate is lost", false, func(w *wire) {
			n := len(w.segs)
			w.say(tls12, 300).close()
			w.segs = remove(w.segs, n+3)
		}, "incomplete", "unseen", session.KeyProofNone, "incomplete"},
		{"the capture ends within the server's flight", false, func(w *wire) {
			w.send(fromClient, hello, 0)
			w.add(fromServer, flow.ACK, w.seq[fromServer], string(tls12[1].Data[:200]))
		}, "incomplete", "unseen", session.KeyProofNone, "incomplete"},
		{"the snap length cuts the certificate", false, func(w *wire) {
			w.say(tls12, 0).close()
			for i := range w.segs {
				w.segs[i].Payload = w.segs[i].Payload[:min(len(w.segs[i].Payload), 400)]
			}
		}, "incomplete", "unseen", session.KeyProofNone, "incomplete"},
		{"something that is no certificate", false, func(w *wire) {
			w.send(fromClient, hello, 0)
			w.send(fromServer, record(22, serverHello(ecdheSuite, ""), message(11, vector24(vector24("no DER"))), message(14, "")), 0).close()
		}, "unparsable", "malformed", session.KeyProofNone, "unverified"},
		{"a list of certificates that cannot be read", false, func(w *wire) {
			w.send(fromClient, hello, 0).send(fromServer, record(22, serverHello(ecdheSuite, ""), message(11, "\x00\x00\x05\x00"), message(14, "")), 0).close()
		}, "unparsable", "malformed", session.KeyProofNone, "unverified"},
		{"an empty list of certificates", false, func(w *wire) {
			w.send(fromClient, hello, 0).send(fromServer, record(22, serverHello(ecdheSuite, ""), message(11, vector24("")), message(14, "")), 0).close()
		}, "unparsable", "malformed", session.KeyProofNone, "unverified"},
		{"two versions of the server's bytes", false, func(w *wire) {
			w.send(fromClient, hello, 0)
			n := len(w.segs)
			w.say(tls12[1:2], 0)
			forged := w.segs[n]
			forged.Payload = []byte(strings.Repeat("X", len(forged.Payload)))
			w.segs = append(w.segs, forged)
			w.say(tls12[2:], 0).close()
		}, "visible", "allowed", session.KeyProofValid, "incomplete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(clientAddr, dynamodbAddr).open()
			tt.segs(w)
			s := newRun(t, func(o *Options) {
				if tt.secrets {
					o.Secrets = log.read(t)
				}
			}).feed(w.segs...).only(t)
			if s.Visibility != tt.visibility || s.Trust != tt.trust || s.TLS.KeyProof != tt.proof || s.Verdict != tt.verdict {
				t.Errorf("visibility %s, trust %s, proof %d, verdict %s %v, want %s, %s, %d, %s; loss %+v", s.Visibility, s.Trust, s.TLS.KeyProof, s.Verdict, ruleIDs(s),
					tt.visibility, tt.trust, tt.proof, tt.verdict, s.Loss)
			}
			checkNoSecrets(t, s)
		})
	}
}

// keyLog gathers what crypto/tls logs.
type keyLog struct{ strings.Builder }

func (k *keyLog) read(t testing.TB) *tlswire.KeyLog {
	t.Helper()
	l := tlswire.NewKeyLog(0)
	if err := l.Read(strings.NewReader(k.String())); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSecretsMayComeLateOrMidway(t *testing.T) {
	var log keyLog
	d := handshake{keylog: &log}.dialogue(t)
	w := newWire(clientAddr, dynamodbAddr).open().say(d, 0).close()

	late := tlswire.NewKeyLog(0)
	r := newRun(t, func(o *Options) { o.Secrets = late })
	r.feedOpen(w.segs)
	if err := late.Read(strings.NewReader(log.String())); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	if s := r.only(t); s.Visibility != session.VisibilityDecrypted || s.Verdict != session.VerdictOK {
		t.Errorf("with late secrets: %s, %s", s.Visibility, s.Verdict)
	}

	r = newRun(t, nil)
	r.feedOpen(w.segs[:4]) // the first flow has begun
	r.UseSecrets(log.read(t))
	r.feedOpen(w.segs[4:])
	again := newWire("10.0.0.6:7", dynamodbAddr).open().say(d, 0).close()
	r.feed(again.segs...)
	if len(r.sessions) != 2 || r.sessions[0].Visibility != session.VisibilityEncrypted || r.sessions[1].Visibility != session.VisibilityDecrypted {
		t.Errorf("with secrets midway: %d sessions, %s", len(r.sessions), r.sessions[0].Visibility)
	}
}

// withSessionID puts a session id in a hello of one record, in place of what there is.
func withSessionID(t testing.TB, first, id string) string {
	t.Helper()
	const at = 5 + 4 + 2 + 32
	n := int(binary.BigEndian.Uint16([]byte(first[3:])))
	body, rest := first[5:5+n], first[5+n:]
	size := int(body[1])<<16 | int(body[2])<<8 | int(body[3])
	hello, others := body[:4+size], body[4+size:]
	old := int(first[at])
	hello = hello[4:at-5] + string([]byte{byte(len(id))}) + id + hello[at-5+1+old:]
	return record(22, message(body[0], hello)+others) + rest
}

// withID is a full handshake of TLS 1.2 in which the server gives out a session id.
func withID(t testing.TB, h handshake, id string) synth.Dialogue {
	h.max = 0x303
	d := slices.Clone(h.dialogue(t))
	d[1].Data = []byte(withSessionID(t, string(d[1].Data), id))
	return d
}

func TestResumedSessionsInherit(t *testing.T) {
	id, other := strings.Repeat("\x11", 32), strings.Repeat("\x22", 32)
	full := withID(t, handshake{}, id)
	hello := string(full[0].Data)
	// resume is an abbreviated handshake with a session id.
	resume := func(w *wire, hello, id string) *wire {
		return w.open().send(fromClient, withSessionID(t, hello, id), 0).send(fromServer, record(22, serverHello(ecdheSuite, id))+finished, 0)
	}
	first := func(d synth.Dialogue) []flow.Segment {
		return newWire(clientAddr, dynamodbAddr).open().say(d, 0).close().segs
	}
	second := func() *wire {
		w := newWire("10.0.0.5:40113", dynamodbAddr)
		w.now = start.Add(time.Minute)
		return w
	}
	elsewhere := handshake{sni: "dynamodb.eu-west-1.amazonaws.com"}
	stranger := handshake{sni: "www.example.com", certificate: &testPKI().other}
	for _, tt := range []struct {
		name      string
		segs      []flow.Segment
		inherited bool
		verdict   session.Verdict
	}{
		{"by session id", append(first(full), resume(second(), hello, id).send(fromClient, finished+appData, 0).close().segs...), true, "ok"},
		{"by another session id", append(first(full), resume(second(), hello, other).send(fromClient, finished+appData, 0).close().segs...), false, "unverified"},
		{"not completed by the client", append(first(full), resume(second(), hello, id).send(fromClient, "\x15\x03\x03\x00\x02\x02\x14", 0).close().segs...), false, "unverified"},
		{"for another name", append(first(full), resume(second(), string(elsewhere.dialogue(t)[0].Data), id).send(fromClient, finished+appData, 0).close().segs...), false, "unverified"},
		{"of a session that was none of ours", append(first(withID(t, stranger, id)),
			resume(second(), hello, id).send(fromClient, finished+appData, 0).close().segs...), false, "unverified"},
		{"of a handshake that was not completed", append(first(full[:2]), resume(second(), hello, id).send(fromClient, finished+appData, 0).close().segs...), false, "unverified"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, nil).feed(tt.segs...)
			s := r.sessions[len(r.sessions)-1]
			if s.Visibility != session.VisibilityResumed {
				t.Fatalf("visibility %s", s.Visibility)
			}
			if inherited := s.Certificate != nil && s.Certificate.SeenBy == "resumption"; inherited != tt.inherited || s.Verdict != tt.verdict {
				t.Errorf("inherited %v, verdict %s %v, want %v, %s", inherited, s.Verdict, ruleIDs(s), tt.inherited, tt.verdict)
			}
		})
	}
}

func TestTicketsAreInheritedFromOneToTheNext(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, withSecrets := range []bool{false, true} {
			var log keyLog
			h := handshake{max: version, cache: tls.NewLRUClientSessionCache(1), keylog: &log}
			var segs []flow.Segment
			for n := range 3 {
				h.ticketKeys = [][32]byte{{byte(n + 1)}, {byte(n)}} // a new key each time, so that every session gives a new ticket
				w := newWire(clientAddr, dynamodbAddr)
				w.tuple.SrcPort += uint16(n)
				w.now = start.Add(time.Duration(n) * time.Second)
				w.open().say(h.dialogue(t), 0)
				if n > 0 {
					w.close() // the first stays open to the end
				}
				segs = append(segs, w.segs...)
			}
			r := newRun(t, func(o *Options) {
				if withSecrets {
					o.Secrets = log.read(t)
				}
			}).feed(segs...)
			for n, s := range r.sessions {
				want := session.VerdictOK
				if version == tls.VersionTLS13 && !withSecrets {
					want = session.VerdictUnverified // nobody saw a ticket
				}
				if s.Verdict != want || (s.TLS.Resumed == session.Yes) != (n > 0) {
					t.Errorf("%x, secrets %v, session %d: resumed %v, verdict %s, certificate %+v", version, withSecrets, n, s.TLS.Resumed, s.Verdict, s.Certificate)
				}
			}
		}
	}
}

func TestRememberedHandshakesAreBounded(t *testing.T) {
	var r resumptions
	for n := range uint32(3 * maxResumable) {
		var key [32]byte
		binary.BigEndian.PutUint32(key[:], n)
		r.learn(key, &origin{})
		r.learn(key, &origin{asked: "again"})
		var used [32]byte
		if o := r.find(used); o == nil || o.asked != "again" {
			t.Fatalf("what is used was forgotten after %d", n)
		}
	}
	if len(r.entries) != maxResumable || r.recent.Len() != maxResumable || r.evicted != 2*maxResumable {
		t.Errorf("%d entries, %d in order, %d evicted", len(r.entries), r.recent.Len(), r.evicted)
	}
}

// An earlier failed try is judged before a later one, though it ends after it.
func TestTheDanceIsSeenThoughTheFirstTryStaysOpen(t *testing.T) {
	first := newWire(clientAddr, farAddr).open().send(fromClient, string(handshake{}.dialogue(t)[0].Data), 0)
	second := newWire("10.0.0.5:40113", farAddr)
	second.now = start.Add(5 * time.Second)
	second.open().say(handshake{max: 0x303}.dialogue(t), 0).close()
	r := newRun(t, nil).feed(append(first.segs, second.segs...)...)
	if len(r.sessions) != 2 || r.sessions[0].TLS.OfferedMax != session.TLS13 {
		t.Fatalf("%d sessions", len(r.sessions))
	}
	if s := r.sessions[1]; !slices.Contains(ruleIDs(s), "tls-downgrade") {
		t.Errorf("findings %v", ruleIDs(s))
	}
}
