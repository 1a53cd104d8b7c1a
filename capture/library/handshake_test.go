package library

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func newTestHandshakes(nodeOff bool) *handshakes {
	hs := newHandshakes()
	hs.pending.max, hs.byRandom.max = 8, 8
	hs.describe = func(h *handshake) { h.nodeOff = nodeOff }
	hs.wall = func(mono uint64) int64 { return int64(mono) }
	hs.missed = func(uint64, uint64) bool { return false }
	hs.caller = func(_ int, address uint64) caller { return caller(address - codeOf(callerUnknown)) }
	return &hs
}

// told plays events and returns the last of what was given out of the handshake with a random.
func told(t *testing.T, nodeOff bool, events ...bpf.LibraryEvent) *flow.Library {
	t.Helper()
	hs := newTestHandshakes(nodeOff)
	var last *flow.Library
	for i := range events {
		e := &events[i]
		if e.Time == 0 {
			e.Time = uint64(i + 1)
		}
		if e.Kind == bpf.LibraryCertificate && e.Length == 0 {
			e.Length = len(e.Data)
		}
		hs.add(e, func(h *handshake) {
			if h.Random == ours {
				last = h.told()
			}
		})
	}
	return last
}

// codeOf is an address in somebody's code, as newTestHandshakes knows it.
func codeOf(c caller) uint64 { return 0x1000 + uint64(c) }

var ours, other = [32]byte{1}, [32]byte{2}

const known = bpf.LibraryRandomKnown | bpf.LibraryValueKnown

func certificate(first bool, der string) bpf.LibraryEvent {
	e := bpf.LibraryEvent{PID: 7, Strand: 8, Kind: bpf.LibraryCertificate, Data: []byte(der)}
	if first {
		e.Flags = bpf.LibraryFirst
	}
	return e
}

func begins(mode int64, flags bpf.LibraryFlags) bpf.LibraryEvent {
	return bpf.LibraryEvent{PID: 7, TID: 8, Strand: 8, Kind: bpf.LibraryHandshake, Random: ours, Flags: known | flags, Value: mode}
}

func later(kind bpf.LibraryKind, value int64) bpf.LibraryEvent {
	return bpf.LibraryEvent{PID: 7, TID: 8, Strand: 8, Kind: kind, Random: ours, Flags: known, Value: value}
}

// got: somebody gets the certificate of the very session.
func got(by caller) bpf.LibraryEvent {
	e := later(bpf.LibraryInspected, 0)
	e.Flags |= bpf.LibrarySession
	e.Code = codeOf(by)
	return e
}

func TestAChainOutlivesASecondTelling(t *testing.T) {
	l := told(t, false, certificate(true, "leaf"), certificate(false, "issuer"), begins(1, 0), begins(1, 0))
	if l == nil || len(l.Chain) != 2 || string(l.Chain[0]) != "leaf" {
		t.Errorf("%+v", l)
	}
}

func TestVerificationIsKnownOrLeftOpen(t *testing.T) {
	verified := later(bpf.LibraryVerified, 1)
	inspected := later(bpf.LibraryInspected, 0)
	elsewhere := inspected
	elsewhere.Random, elsewhere.TID, elsewhere.Strand = other, 9, 9
	stranger := inspected
	stranger.PID = 99
	muchLater := inspected
	muchLater.Time = uint64(time.Minute)
	noAnswer := later(bpf.LibraryAsked, 0)
	noAnswer.Flags &^= bpf.LibraryValueKnown
	python := func(mode int64) bpf.LibraryEvent {
		e := begins(mode, bpf.LibraryCallback)
		e.Code = codeOf(callerPython)
		return e
	}
	foreign := begins(0, bpf.LibraryCallback)
	foreign.Code = codeOf(callerUnknown)
	curls := foreign
	curls.Code = codeOf(callerCurl)
	gotChain := got(callerUnknown)
	gotChain.Code = 0
	gotOthers := got(callerUnknown)
	gotOthers.Random = other
	noMode := begins(0, 0)
	noMode.Flags &^= bpf.LibraryValueKnown
	for _, c := range []struct {
		name   string
		node   bool
		events []bpf.LibraryEvent
		want   flow.Verification
	}{
		{"mode 0, and nobody asks", false, []bpf.LibraryEvent{begins(0, 0), verified}, flow.VerificationOff},
		{"mode 0 over a bad chain", false, []bpf.LibraryEvent{begins(0, 0), later(bpf.LibraryVerified, 0)}, flow.VerificationOff},
		{"mode 0 of somebody who goes on over an error", false, []bpf.LibraryEvent{begins(0, 0), verified, later(bpf.LibraryAsked, 20)}, flow.VerificationOff},
		{"a callback of somebody who goes on over an error", false, []bpf.LibraryEvent{begins(1, bpf.LibraryCallback), verified, later(bpf.LibraryAsked, 18)}, flow.VerificationOff},
		{"node with the variable", true, []bpf.LibraryEvent{begins(0, bpf.LibraryCallback), verified, later(bpf.LibraryAsked, 0)}, flow.VerificationOff},
		{"mode 1", false, []bpf.LibraryEvent{begins(1, 0), verified}, flow.VerificationOn},
		{"mode 1 of somebody who asks for the reason of a failure", false, []bpf.LibraryEvent{begins(1, 0), later(bpf.LibraryVerified, 0), later(bpf.LibraryAsked, 20)}, flow.VerificationOn},
		{"mode 0 of somebody who asks, and it is good", false, []bpf.LibraryEvent{begins(0, 0), verified, later(bpf.LibraryAsked, 0)}, flow.VerificationUnknown},
		{"mode 0 of somebody who asks, and the answer is not known", false, []bpf.LibraryEvent{begins(0, 0), verified, noAnswer}, flow.VerificationUnknown},
		{"mode 0 of somebody who pins", false, []bpf.LibraryEvent{begins(0, 0), verified, inspected}, flow.VerificationUnknown},
		{"mode 0 of somebody who pins, asked first", false, []bpf.LibraryEvent{begins(0, 0), verified, later(bpf.LibraryAsked, 20), inspected}, flow.VerificationUnknown},
		{"mode 0 with a callback", false, []bpf.LibraryEvent{begins(0, bpf.LibraryCallback), verified}, flow.VerificationUnknown},
		{"mode 1 with a callback", false, []bpf.LibraryEvent{begins(1, bpf.LibraryCallback), verified}, flow.VerificationUnknown},
		{"mode 0 where the program verifies instead of the library", false, []bpf.LibraryEvent{begins(0, 0)}, flow.VerificationUnknown},
		{"mode 1 where the program verifies instead of the library", false, []bpf.LibraryEvent{begins(1, 0)}, flow.VerificationUnknown},
		{"mode 1 where the program verifies instead of the library, and asks", false, []bpf.LibraryEvent{begins(1, 0), later(bpf.LibraryAsked, 20)}, flow.VerificationUnknown},
		{"mode 0 with Python's own callback", false, []bpf.LibraryEvent{python(0), verified}, flow.VerificationOff},
		{"mode 0 with Python's own callback, of somebody who pins", false, []bpf.LibraryEvent{python(0), verified, inspected}, flow.VerificationUnknown},
		{"mode 1 with Python's own callback", false, []bpf.LibraryEvent{python(1), verified}, flow.VerificationOn},
		{"mode 0 with a callback that is nobody's who is known", false, []bpf.LibraryEvent{foreign, verified}, flow.VerificationUnknown},
		{"mode 0 with a callback of libcurl, which has none", false, []bpf.LibraryEvent{curls, verified}, flow.VerificationUnknown},
		{"mode not readable", false, []bpf.LibraryEvent{noMode, verified}, flow.VerificationUnknown},
		{"mode 0 of somebody who gets the certificate", false, []bpf.LibraryEvent{begins(0, 0), verified, got(callerUnknown)}, flow.VerificationUnknown},
		{"an error, and somebody gets the certificate", false, []bpf.LibraryEvent{begins(0, 0), later(bpf.LibraryAsked, 20), got(callerUnknown)}, flow.VerificationUnknown},
		{"mode 0 of somebody who gets the chain", false, []bpf.LibraryEvent{begins(0, 0), verified, gotChain}, flow.VerificationUnknown},
		{"mode 0 of another, who gets the certificate of another", false, []bpf.LibraryEvent{
			begins(0, 0), verified, {PID: 7, Strand: 9, Kind: bpf.LibraryHandshake, Random: other, Flags: known}, gotOthers,
		}, flow.VerificationOff},
		{"mode 0 of Python, whose asyncio gets the certificate", false, []bpf.LibraryEvent{python(0), verified, got(callerPython)}, flow.VerificationOff},
		{"mode 0 of Python, and the program gets it too", false, []bpf.LibraryEvent{python(0), verified, got(callerPython), got(callerUnknown)}, flow.VerificationUnknown},
		{"mode 0 of libcurl", false, []bpf.LibraryEvent{begins(0, 0), verified, got(callerCurl), got(callerItself)}, flow.VerificationOff},
		{"mode 0 of libcurl that pins", false, []bpf.LibraryEvent{begins(0, 0), verified, got(callerCurl), inspected}, flow.VerificationUnknown},
		{"an inspection told for another handshake of the process", false, []bpf.LibraryEvent{
			begins(0, 0), verified, {PID: 7, Strand: 9, Kind: bpf.LibraryHandshake, Random: other, Flags: known}, elsewhere,
		}, flow.VerificationUnknown},
		{"an inspection of another process", false, []bpf.LibraryEvent{begins(0, 0), verified, stranger}, flow.VerificationOff},
		{"an inspection much later", false, []bpf.LibraryEvent{begins(0, 0), verified, muchLater}, flow.VerificationOff},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, c.node, c.events...)
			if l == nil || l.Verification != c.want || (l.VerificationBy == "") != (c.want == flow.VerificationUnknown) {
				t.Errorf("%+v, want %v", l, c.want)
			}
		})
	}
}

func TestChainIsThatOfTheHandshake(t *testing.T) {
	cut := certificate(false, "intermediate")
	cut.Length = 1 << 20
	ofAnother := certificate(true, "another's")
	ofAnother.Strand = 9
	late := begins(1, 0)
	late.Time = uint64(time.Minute)
	many := []bpf.LibraryEvent{certificate(true, "leaf")}
	for range maxChain {
		many = append(many, certificate(false, "more"))
	}
	for _, c := range []struct {
		name   string
		events []bpf.LibraryEvent
		want   []string
	}{
		{"in order", []bpf.LibraryEvent{certificate(true, "leaf"), certificate(false, "intermediate"), begins(1, 0)}, []string{"leaf", "intermediate"}},
		{"not of a handshake that was given up", []bpf.LibraryEvent{certificate(true, "old"), certificate(true, "leaf"), begins(1, 0)}, []string{"leaf"}},
		{"not of another thread", []bpf.LibraryEvent{certificate(true, "leaf"), ofAnother, begins(1, 0)}, []string{"leaf"}},
		{"none if one was not copied whole", []bpf.LibraryEvent{certificate(true, "leaf"), cut, begins(1, 0)}, nil},
		{"none if there were too many", append(many, begins(1, 0)), nil},
		{"none if they are old", []bpf.LibraryEvent{certificate(true, "leaf"), late}, nil},
		{"none if there were none", []bpf.LibraryEvent{begins(1, 0)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, false, c.events...)
			if len(l.Chain) != len(c.want) {
				t.Fatalf("%q", l.Chain)
			}
			for i, der := range l.Chain {
				if !bytes.Equal(der, []byte(c.want[i])) {
					t.Errorf("%q", l.Chain)
				}
			}
		})
	}
}

func TestHostIsTold(t *testing.T) {
	host := later(bpf.LibraryHost, 0)
	host.Data = []byte("dynamodb.us-east-1.amazonaws.com")
	if l := told(t, false, begins(1, 0), host); !l.HostChecked || l.Host != "dynamodb.us-east-1.amazonaws.com" {
		t.Errorf("%+v", l)
	}
	if l := told(t, false, begins(1, 0)); l.HostChecked {
		t.Errorf("%+v", l)
	}
}

func TestGenerationsForgetTheOldest(t *testing.T) {
	g := newGenerations[int, string](2, 0)
	for i, s := range []string{"a", "b", "c", "d"} {
		g.put(i, s)
	}
	if _, ok := g.get(0); !ok {
		t.Error("0 was forgotten in its generation")
	}
	g.put(4, "e")
	if _, ok := g.get(2); ok && len(g.newer)+len(g.older) > 4 {
		t.Error("more than two generations")
	}
	g.delete(4)
	if _, ok := g.get(4); ok {
		t.Error("4 is still there")
	}
}

func TestGenerationsForgetTheOld(t *testing.T) {
	g := newGenerations[int, string](100, time.Hour)
	g.put(1, "a")
	g.begun = g.begun.Add(-time.Hour)
	g.put(2, "b")
	if _, ok := g.newer[1]; ok || len(g.older) != 1 {
		t.Errorf("%v before %v", g.older, g.newer)
	}
	g.begun = g.begun.Add(-time.Hour)
	g.put(3, "c")
	if _, ok := g.get(1); ok {
		t.Error("two hours old, and still there")
	}
	if _, ok := g.get(2); !ok {
		t.Error("one hour old, and gone")
	}
}

// Clients of one server share one copy of its chain, and a server that shows each its own cannot make us remember them all.
func TestCertificatesAreKeptOnce(t *testing.T) {
	hs := newTestHandshakes(false)
	hs.byRandom.max = maxHandshakes
	shown := func(n int, der []byte) *handshake {
		hs.add(&bpf.LibraryEvent{Kind: bpf.LibraryCertificate, PID: 7, Strand: uint64(n), Time: uint64(n), Flags: bpf.LibraryFirst, Data: der, Length: len(der)}, nil)
		e := &bpf.LibraryEvent{Kind: bpf.LibraryHandshake, PID: 7, Strand: uint64(n), Time: uint64(n)}
		binary.LittleEndian.PutUint64(e.Random[:], uint64(n)+1)
		var h *handshake
		hs.add(e, func(x *handshake) { h = x })
		return h
	}
	one := bytes.Repeat([]byte{1}, 1000)
	a, b := shown(0, one), shown(1, bytes.Clone(one))
	if !bytes.Equal(a.Chain[0], one) || &a.Chain[0][0] != &b.Chain[0][0] || &a.Chain[0][0] == &one[0] {
		t.Error("two copies of one certificate, or none")
	}
	if hs.ownBytes != len(one) {
		t.Errorf("%d bytes for one certificate of %d", hs.ownBytes, len(one))
	}
	const large = 16 << 10
	for n := range 2000 {
		der := bytes.Repeat([]byte{2}, large)
		binary.LittleEndian.PutUint64(der, uint64(n))
		shown(n+2, der)
	}
	held := make(map[*byte]bool)
	for _, generation := range [...]map[[32]byte]*handshake{hs.byRandom.newer, hs.byRandom.older} {
		for _, h := range generation {
			held[&h.Chain[0][0]] = true
		}
	}
	if n := len(held) * large; n > 2*maxChainBytes+large || n < maxChainBytes {
		t.Errorf("%d bytes of chains are held", n)
	}
}

// TestAbsenceIsNotConcludedFromWhereEventsWereMissed: what was told of a handshake is taken back where it hung on nothing having been done.
func TestAbsenceIsNotConcludedFromWhereEventsWereMissed(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []bpf.LibraryEvent
		want   flow.Verification
		again  bool
	}{
		{"nothing was done", []bpf.LibraryEvent{begins(0, bpf.LibraryGnuTLS)}, flow.VerificationUnknown, true},
		{"a bad judgement, and no look", []bpf.LibraryEvent{begins(0, bpf.LibraryGnuTLS), later(bpf.LibraryVerified, 2)}, flow.VerificationUnknown, true},
		{"it verifies by itself", []bpf.LibraryEvent{begins(1, bpf.LibraryGnuTLS)}, flow.VerificationOn, false},
		{"OpenSSL's mode 0", []bpf.LibraryEvent{begins(0, 0), later(bpf.LibraryVerified, 1)}, flow.VerificationUnknown, true},
		{"OpenSSL's mode 0, and somebody goes on over an error", []bpf.LibraryEvent{begins(0, 0), later(bpf.LibraryAsked, 20)}, flow.VerificationUnknown, true},
		{"OpenSSL's mode 1", []bpf.LibraryEvent{begins(1, 0), later(bpf.LibraryVerified, 1)}, flow.VerificationOn, false},
		{"OpenSSL's mode 0, of somebody who looks", []bpf.LibraryEvent{begins(0, 0), later(bpf.LibraryVerified, 1), got(callerUnknown)}, flow.VerificationUnknown, false},
		{"Go's flag", []bpf.LibraryEvent{begins(1, bpf.LibraryGo)}, flow.VerificationOff, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			hs := newTestHandshakes(false)
			var last *flow.Library
			for i := range c.events {
				hs.add(&c.events[i], func(h *handshake) { last = h.told() })
			}
			again := false
			hs.doubt(1, func(l *flow.Library) { again, last = true, l })
			if again != c.again || last.Verification != c.want {
				t.Errorf("told again: %t, %+v", again, last)
			}
			hs.doubt(1, func(l *flow.Library) { t.Errorf("taken back twice: %+v", l) })
		})
	}
}

func TestTheNameThatOpenSSLWasToldIsOneOfAHost(t *testing.T) {
	for text, want := range map[string]string{
		"dynamodb.us-east-1.amazonaws.com": "dynamodb.us-east-1.amazonaws.com", "_x.Example.": "_x.Example.", "": "",
		"a password": "", "\x7fELF": "", "x=y": "", "f\xc3\xbcr.example": "",
	} {
		e := begins(1, 0)
		e.Data, e.Length = []byte(text), len(text)
		if l := told(t, false, e); l == nil || l.ServerName != want || !l.NameApart {
			t.Errorf("%q: %+v", text, l)
		}
	}
}

// A chain with a hole looks like one that leads nowhere, and one without its leaf like another server's: neither may be given out.
func TestAChainIsToldWholeOrNotAtAll(t *testing.T) {
	certificate := func(first bool, der string) bpf.LibraryEvent {
		e := bpf.LibraryEvent{Kind: bpf.LibraryCertificate, PID: 7, Strand: 1, Data: []byte(der), Length: len(der)}
		if first {
			e.Flags = bpf.LibraryFirst
		}
		return e
	}
	begins := bpf.LibraryEvent{Kind: bpf.LibraryHandshake, PID: 7, Strand: 1}
	for _, tt := range []struct {
		name   string
		events []bpf.LibraryEvent
		missed bool
		chain  int
	}{
		{"whole", []bpf.LibraryEvent{certificate(true, "leaf"), certificate(false, "intermediate")}, false, 2},
		{"events were lost meanwhile", []bpf.LibraryEvent{certificate(true, "leaf"), certificate(false, "root")}, true, 0},
		{"the leaf was lost", []bpf.LibraryEvent{certificate(false, "intermediate"), certificate(false, "root")}, false, 0},
		{"the leaf was lost, then another chain came", []bpf.LibraryEvent{certificate(false, "intermediate"), certificate(true, "leaf")}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hs := newTestHandshakes(false)
			hs.missed = func(from, to uint64) bool {
				if from != 1 || to != uint64(len(tt.events))+1 {
					t.Errorf("asked about %d to %d", from, to)
				}
				return tt.missed
			}
			if strings.Contains(tt.name, "another") {
				hs.missed = func(uint64, uint64) bool { return false }
			}
			var last *handshake
			for i, e := range append(tt.events, begins) {
				e.Time = uint64(i + 1)
				hs.add(&e, func(h *handshake) { last = h })
			}
			if last == nil || len(last.Chain) != tt.chain {
				t.Errorf("%+v", last)
			}
		})
	}
}

func TestLossesAreRememberedUntilNothingOlderComes(t *testing.T) {
	var l losses
	l.look(0, 100, 90)
	if l.between(0, 1000) {
		t.Error("nothing was lost")
	}
	l.look(1, 200, 150) // lost between 100 and 200; the ring holds events of that time
	if !l.between(150, 160) || !l.between(50, 101) || l.between(50, 99) || l.between(201, 210) {
		t.Errorf("%+v", l)
	}
	l.look(1, 300, 160)
	l.look(2, 400, 170) // lost between 300 and 400, and older events still come
	if !l.between(171, 180) {
		t.Errorf("the first loss is forgotten: %+v", l)
	}
	l.look(3, 500, 450)
	if !l.between(410, 450) || l.between(171, 180) {
		t.Errorf("%+v", l)
	}
}

// TestWhatIsAskedCountsByWhoMayAsk: libcurl's question means nothing where nobody else's code is there, and silence nothing where a question may not have been heard.
func TestWhatIsAskedCountsByWhoMayAsk(t *testing.T) {
	verified, good, bad := later(bpf.LibraryVerified, 1), later(bpf.LibraryAsked, 0), later(bpf.LibraryAsked, 20)
	for _, c := range []struct {
		name                string
		unheard, forNothing bool
		events              []bpf.LibraryEvent
		want                flow.Verification
		by                  string
	}{
		{"for nothing, and it is good", false, true, []bpf.LibraryEvent{verified, good}, flow.VerificationOff, "SSL_VERIFY_NONE"},
		{"for nothing, and it is bad", false, true, []bpf.LibraryEvent{verified, bad}, flow.VerificationOff, "SSL_VERIFY_NONE"},
		{"unheard", true, false, []bpf.LibraryEvent{verified}, flow.VerificationUnknown, ""},
		{"heard after all", true, false, []bpf.LibraryEvent{verified, bad}, flow.VerificationOff, "it went on over X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
	} {
		hs := newTestHandshakes(false)
		describe := hs.describe
		hs.describe = func(h *handshake) {
			describe(h)
			h.unheard, h.forNothing = c.unheard, c.forNothing
		}
		var last *flow.Library
		for i, e := range append([]bpf.LibraryEvent{begins(0, 0)}, c.events...) {
			e.Time = uint64(i + 1)
			hs.add(&e, func(h *handshake) { last = h.told() })
		}
		if last == nil || last.Verification != c.want || last.VerificationBy != c.by {
			t.Errorf("%s: %+v", c.name, last)
		}
	}
}

func TestHandshakesAreDatedByTheClockAfterAHostSlept(t *testing.T) {
	var c bpf.Clock
	c.Sync()
	c.Offset -= int64(8 * time.Hour) // what was measured before: meanwhile the wall clock went on, the kernel's did not
	c.Sync()
	if behind := time.Since(time.Unix(0, c.Wall(bpf.Monotonic()))); behind > time.Minute {
		t.Errorf("the clock is %v behind", behind.Round(time.Second))
	}
}
