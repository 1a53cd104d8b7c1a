package analyze

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// scenario is one flow as it was, and what is said of it whole.
type scenario struct {
	name    string
	segs    []flow.Segment
	secrets tlswire.Secrets
	rules   []string
	// handshake has a byte for each byte of each side's handshake, by sequence number; nil where the session is not direct TLS.
	handshake [2]map[uint32]bool
}

// tail is how many packets at the end of a scenario tell how far its streams went: two FINs and an acknowledgement.
const tail = 3

var scenarios = sync.OnceValue(func() []*scenario {
	t := new(testing.T)
	p := testPKI()
	var log keyLog
	tls12 := handshake{max: 0x303}
	flows := []*scenario{
		{name: "TLS 1.2", segs: newWire(clientAddr, dynamodbAddr).open().say(tls12.dialogue(t), 0).close().segs},
		{name: "TLS 1.2 in small segments", segs: newWire(clientAddr, dynamodbAddr).open().say(tls12.dialogue(t), 60).close().segs},
		{name: "TLS 1.2 elsewhere", segs: newWire(clientAddr, farAddr).open().say(tls12.dialogue(t), 300).close().segs},
		{name: "TLS 1.3", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{}.dialogue(t), 200).close().segs},
		{name: "TLS 1.3 elsewhere", segs: newWire(clientAddr, farAddr).open().say(handshake{}.dialogue(t), 400).close().segs},
		{name: "a refused certificate", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{max: 0x303, verify: true, certificate: &p.evil}.dialogue(t), 300).close().segs},
		{name: "a refused certificate in TLS 1.3", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{verify: true, certificate: &p.evil}.dialogue(t), 300).close().segs},
		{name: "an accepted certificate of nobody's", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{max: 0x303, certificate: &p.evil}.dialogue(t), 300).close().segs},
		{name: "no SNI", segs: newWire(clientAddr, farAddr).open().say(handshake{max: 0x303, sni: "-"}.dialogue(t), 300).close().segs},
		{name: "somebody else's name", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{max: 0x303, sni: "s3.us-east-1.amazonaws.com"}.dialogue(t), 300).close().segs},
		{name: "refused by the server", segs: newWire(clientAddr, dynamodbAddr).open().send(fromClient, string(tls12.dialogue(t)[0].Data), 100).send(fromServer, "\x15\x03\x03\x00\x02\x02\x28", 3).close().segs},
		{name: "HTTP", segs: newWire(clientAddr, "52.94.0.10:80").open().send(fromClient, dynamodbRequest, 90).send(fromServer, okEmpty, 0).
			send(fromClient, dynamodbRequest, 0).send(fromServer, okEmpty, 0).close().segs},
		{name: "HTTP of another service", segs: newWire(clientAddr, "52.94.0.10:80").open().
			send(fromClient, "POST / HTTP/1.1\r\nHost: s3.us-east-1.amazonaws.com\r\nContent-Length: 600\r\n\r\n", 20).
			send(fromClient, "{\"log\":\""+dynamodbRequest+strings.Repeat("x", 591-len(dynamodbRequest)), 200).send(fromServer, okEmpty, 0).close().segs},
		{name: "CONNECT", segs: newWire(clientAddr, "10.0.0.99:3128").open().send(fromClient, connect, 50).send(fromServer, tunnel, 10).say(tls12.dialogue(t), 300).close().segs},
		{name: "CONNECT elsewhere", segs: newWire(clientAddr, "10.0.0.99:3128").open().send(fromClient, strings.ReplaceAll(connect, dynamodbName, "www.example.com"), 50).
			send(fromServer, tunnel, 10).say(handshake{sni: "www.example.com"}.dialogue(t), 300).close().segs},
		{name: "CONNECT with HTTP", segs: newWire(clientAddr, "10.0.0.99:3128").open().send(fromClient, connect, 50).send(fromServer, tunnel, 10).send(fromClient, dynamodbRequest, 99).
			send(fromServer, okEmpty, 0).close().segs},
		{name: "SOCKS", segs: newWire(clientAddr, farAddr).open().send(fromClient, "\x05\x01\x00", 0).send(fromServer, "\x05\x00", 0).
			send(fromClient, "\x05\x01\x00\x01\x34\x5e\x00\x0a\x01\xbb", 0).send(fromServer, "\x05\x00\x00\x01\x0a\x00\x00\x01\x9c\x40", 0).
			say(handshake{}.dialogue(t), 300).close().segs},
		{name: "DAX", segs: newWire(clientAddr, "10.0.0.9:8111").open().send(fromClient, daxOpening, 4).send(fromServer, "\x00\x01", 0).close().segs},
	}
	logged := &scenario{name: "TLS 1.3 with secrets", segs: newWire(clientAddr, dynamodbAddr).open().say(handshake{keylog: &log}.dialogue(t), 200).close().segs}
	logged.secrets = log.read(t)
	flows = append(flows, logged)
	for _, f := range flows {
		r := newRun(t, func(o *Options) { o.Secrets = f.secrets }).feed(f.segs...)
		if len(r.sessions) == 0 {
			continue
		}
		s := r.sessions[0]
		f.rules = ruleIDs(s)
		for side, end := range s.HandshakeEnd {
			if !end.Known {
				continue
			}
			f.handshake[side] = make(map[uint32]bool)
			first := f.segs[side].Seq + 1 // behind the SYN
			for seq := first; int32(end.Number-seq) > 0; seq++ {
				f.handshake[side][seq] = true
			}
		}
	}
	return flows
})

// damage changes the packets of a flow. It reports whether it left the places of bytes in their streams alone.
func damage(c *chooser, segs []flow.Segment, flips bool) (_ []flow.Segment, inPlace bool) {
	body, end := slices.Clone(segs[:len(segs)-tail]), segs[len(segs)-tail:]
	for n := 1 + c.below(6); n > 0 && len(body) > 0; n-- {
		i := c.below(len(body))
		switch c.below(6) {
		case 0, 1:
			k := min(1+c.below(3), len(body)-i)
			body = slices.Delete(body, i, i+k)
		case 2:
			body = slices.Insert(body, min(i+c.below(5), len(body)-1), body[i])
		case 3:
			j := min(i+c.below(6), len(body)-1)
			body[i], body[j] = body[j], body[i]
		case 4:
			body[i].Payload = body[i].Payload[:c.below(len(body[i].Payload)+1)]
		case 5:
			if flips && len(body[i].Payload) > 0 {
				body[i].Payload = slices.Clone(body[i].Payload)
				at := c.below(len(body[i].Payload))
				if b := &body[i].Payload[at]; *b != '\r' && *b != '\n' { // a line that swallows the next one is the sender's doing
					*b ^= byte(1 << c.below(8))
				}
			}
		}
	}
	if flips && c.below(2) == 0 { // headers too
		for n := c.below(5); n > 0 && len(body) > 0; n-- {
			s := &body[c.below(len(body))]
			switch c.below(6) {
			case 0:
				s.Seq += uint32(c.below(5000)) - 2500
			case 1:
				s.Ack += uint32(c.below(5000)) - 2500
			case 2:
				s.Flags ^= flow.TCPFlags(1 << c.below(5))
			case 3:
				s.Time += int64(c.below(100)-50) * 1e9
			case 4:
				s.Length += c.below(3000)
			case 5:
				s.Seq = uint32(c.below(256)) << 24
			}
		}
		return body, false
	}
	return append(body, end...), true
}

// FuzzAnalyzer damages flows. Whatever happens, nothing panics, the bounds hold, sessions come in order and no secret comes out. What is merely
// lost, repeated or out of order adds no finding, and no verdict of ok stands where bytes of the handshake are missing.
func FuzzAnalyzer(f *testing.F) {
	for i := range scenarios() {
		for k := range 6 {
			f.Add(uint8(i), k%2 == 1, bytes.Repeat([]byte{byte(i), byte(k), 3, byte(7 * k)}, 5*k))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, flips bool, choices []byte) {
		all := scenarios()
		sc := all[int(which)%len(all)]
		if err := checkDamaged(t, sc, flips, choices); err != nil {
			t.Errorf("%s: %v", sc.name, err)
		}
	})
}

func checkDamaged(t *testing.T, sc *scenario, flips bool, choices []byte) error {
	segs, inPlace := damage(newChooser(choices), sc.segs, flips)
	options := func(o *Options) {
		o.Secrets = sc.secrets
		o.All = flips && len(choices)%3 == 0
		o.Live = flips && len(choices)%5 == 0
	}
	r := newRun(t, options)
	for i := range segs {
		seg := segs[i]
		r.Segment(&seg)
		checkBounds(t, r.Analyzer)
	}
	r.Flush()
	checkBounds(t, r.Analyzer)
	if len(choices)%4 == 0 {
		if many := newRun(t, options).feed(segs...); !reflect.DeepEqual(many.sessions, r.sessions) || many.Stats() != r.Stats() {
			return fmt.Errorf("all at once they give %+v, %+v; one by one %+v, %+v", many.sessions, many.Stats(), r.sessions, r.Stats())
		}
	}
	var last int64
	var late uint64
	for _, s := range r.sessions {
		if at := s.Start.UnixNano(); at < last {
			late++
		} else {
			last = at
		}
		if inPlace { // else a secret may have come to stand where an operation is named, for example
			checkNoSecrets(t, s)
		}
	}
	if late > r.Stats().Late && !r.o.Live {
		return fmt.Errorf("%d sessions out of order, %d counted", late, r.Stats().Late)
	}
	if flips {
		return nil
	}
	for _, s := range r.sessions {
		for _, id := range ruleIDs(s) {
			if !slices.Contains(sc.rules, id) {
				return fmt.Errorf("loss made the finding %s: %s", id, s.Findings[slices.Index(ruleIDs(s), id)].Message)
			}
		}
		if s.Verdict == session.VerdictOK {
			if n := missing(sc, segs); n > 0 {
				return fmt.Errorf("verdict ok, though %d bytes of the handshake are missing", n)
			}
		}
	}
	return nil
}

// missing counts the bytes of the handshake that stand in no segment.
func missing(sc *scenario, segs []flow.Segment) int {
	var seen [2]map[uint32]bool
	for side := range seen {
		seen[side] = make(map[uint32]bool)
	}
	for _, s := range segs {
		side := 0
		if s.SrcPort != sc.segs[0].SrcPort {
			side = 1
		}
		for i := range s.Payload {
			seen[side][s.Seq+uint32(i)] = true
		}
	}
	n := 0
	for side := range seen {
		for seq := range sc.handshake[side] {
			if !seen[side][seq] {
				n++
			}
		}
	}
	return n
}

// The server's answer to a ClientHello may be recognised before it is known that bytes of the client's are lost. What came before that answer was perhaps a
// proxy's.
func TestAProxysAnswerThatWasLostWithItsSYNMakesNoFinding(t *testing.T) {
	all := scenarios()
	whole := all[slices.IndexFunc(all, func(sc *scenario) bool { return sc.name == "SOCKS" })].segs
	hello := slices.IndexFunc(whole, func(s flow.Segment) bool { return len(s.Payload) > 10 })
	s := newRun(t, nil).feed(slices.Delete(slices.Clone(whole), 1, hello)...).only(t)
	if ids := ruleIDs(s); len(ids) > 0 || !s.Endpoint.Known() {
		t.Errorf("findings %v, endpoint %+v", ids, s.Endpoint)
	}
}

// The same with many fixed choices, so that an ordinary test run covers them.
func TestDamageMakesNoFinding(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			for n := range 150 {
				choices := bytes.Repeat([]byte{byte(n)}, n%7)
				if err := checkDamaged(t, sc, false, append(choices, byte(n), byte(n>>3), byte(n*31))); err != nil {
					t.Errorf("%d: %v", n, err)
				}
			}
			// Every packet in turn, alone and with those around it, is lost.
			for i := range sc.segs[:len(sc.segs)-tail] {
				for k := 1; k < 6; k++ {
					segs := slices.Delete(slices.Clone(sc.segs), i, min(i+k, len(sc.segs)-tail))
					for _, s := range newRun(t, func(o *Options) { o.Secrets = sc.secrets }).feed(segs...).sessions {
						for _, id := range ruleIDs(s) {
							if !slices.Contains(sc.rules, id) {
								t.Errorf("packets %d to %d lost: %s, verdict %s, loss %+v", i, i+k-1, id, s.Verdict, s.Loss)
							}
						}
						if n := missing(sc, segs); n > 0 && s.Verdict == session.VerdictOK {
							t.Errorf("packets %d to %d lost: verdict ok, though %d bytes of the handshake are missing", i, i+k-1, n)
						}
					}
				}
			}
			// The capture ends, or begins, at every packet.
			for i := range sc.segs {
				for _, segs := range [][]flow.Segment{sc.segs[:i], sc.segs[i:]} {
					for _, s := range newRun(t, func(o *Options) { o.Secrets = sc.secrets }).feed(segs...).sessions {
						for _, id := range ruleIDs(s) {
							if !slices.Contains(sc.rules, id) {
								t.Errorf("%d packets of %d: %s, verdict %s, loss %+v", len(segs), len(sc.segs), id, s.Verdict, s.Loss)
							}
						}
					}
				}
			}
		})
	}
}
