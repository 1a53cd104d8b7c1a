package analyze

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// ignored is an Analyzer that has found n flows to be none of ours, and a data segment of each.
func ignored(tb testing.TB, n int) (*run, []flow.Segment) {
	hello := string(handshake{sni: "www.example.com"}.dialogue(tb)[0].Data)
	payload := []byte(strings.Repeat("x", 1448))
	r := newRun(tb, nil)
	segs := make([]flow.Segment, n)
	for i := range segs {
		w := newWire(clientAddr, farAddr)
		w.tuple.SrcPort = uint16(i)
		binary.BigEndian.PutUint16(w.tuple.SrcIP[12:], uint16(i>>16))
		w.open().send(fromClient, hello, 0)
		r.feedOpen(w.segs)
		s := w.segs[len(w.segs)-1]
		s.Payload, s.Length = payload, len(payload)
		segs[i] = s
	}
	return r, segs
}

func TestPacketsOfIgnoredFlowsAllocateNothing(t *testing.T) {
	r, segs := ignored(t, 100)
	unknown := segs[0]
	unknown.DstPort++
	unknown.Payload, unknown.Length = nil, 0
	ack := segs[1]
	ack.Payload, ack.Length = nil, 0
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		r.Segment(&segs[i%100])
		r.Segment(&unknown)
		r.Segment(&ack)
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPacketsBehindASettledHandshakeAllocateNothing(t *testing.T) {
	for name, h := range map[string]handshake{"TLS 1.2": {max: 0x303}, "TLS 1.3": {}} {
		r := newRun(t, nil)
		w := newWire(clientAddr, dynamodbAddr).open().say(h.dialogue(t), 0)
		for range 20 {
			w.send(fromServer, appData+appData, 0).send(fromClient, appData+appData, 0)
		}
		r.feedOpen(w.segs)
		data := w.segs[len(w.segs)-2]
		if n := testing.AllocsPerRun(1000, func() {
			data.Seq += uint32(data.Length)
			r.Segment(&data)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkIgnoredFlow is one data segment of one of many flows that are none of ours, in random order.
func BenchmarkIgnoredFlow(b *testing.B) {
	r, segs := ignored(b, 100_000)
	b.ReportAllocs()
	b.SetBytes(1448)
	n := uint32(0)
	for b.Loop() {
		n = n*1664525 + 1013904223
		r.Segment(&segs[int(n>>8)%len(segs)])
	}
}

// BenchmarkHandshake is all packets of a connection: with a handshake of ours, with one that is none, with HTTP, without payload.
func BenchmarkHandshake(b *testing.B) {
	hello := func(h handshake) *wire { return newWire(clientAddr, dynamodbAddr).open().say(h.dialogue(b), 0).close() }
	for _, bb := range []struct {
		name string
		w    *wire
	}{
		{"TLS 1.2", hello(handshake{max: 0x303})},
		{"TLS 1.3", hello(handshake{})},
		{"ignored", newWire(clientAddr, farAddr).open().say(handshake{sni: "www.example.com"}.dialogue(b), 0).close()},
		{"HTTP", newWire(clientAddr, "52.94.0.10:80").open().send(fromClient, dynamodbRequest, 0).send(fromServer, okEmpty, 0).close()},
		{"half open", func() *wire {
			w := newWire(clientAddr, farAddr)
			w.add(fromClient, flow.SYN, 1, "")
			return w
		}()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := newRun(b, func(o *Options) { o.Emit = func(*session.Session) {} })
			segs := bb.w.segs
			b.ReportAllocs()
			i := uint32(0)
			for b.Loop() {
				// Another five-tuple and a later time for each, so that flows end and are swept as they would be.
				i++
				for k := range segs {
					s := segs[k]
					s.Time += int64(i) * 100_000
					if s.SrcPort == bb.w.tuple.SrcPort {
						s.SrcPort = uint16(i)
						binary.BigEndian.PutUint16(s.SrcIP[12:], uint16(i>>16))
					} else {
						s.DstPort = uint16(i)
						binary.BigEndian.PutUint16(s.DstIP[12:], uint16(i>>16))
					}
					r.Segment(&s)
				}
			}
			b.ReportMetric(float64(len(segs)), "packets/op")
		})
	}
}
