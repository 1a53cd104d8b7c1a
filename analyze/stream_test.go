package analyze

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// remove takes segments out by index.
func remove(segs []flow.Segment, drop ...int) []flow.Segment {
	var out []flow.Segment
next:
	for i, s := range segs {
		for _, d := range drop {
			if i == d {
				continue next
			}
		}
		out = append(out, s)
	}
	return out
}

const ask, reply = "the client's bytes", "the server's bytes"

func TestStreamsArePutInOrder(t *testing.T) {
	psh := flow.ACK | flow.PSH
	for _, tt := range []struct {
		name           string
		segs           func(w *wire)
		client, server string
		gaps, conflict uint64
		stray          uint64
	}{
		{name: "a plain connection", client: ask, server: reply, segs: func(w *wire) {
			w.open().send(fromClient, ask, 5).send(fromServer, reply, 7).close()
		}},
		{name: "data in the SYN, as fast open sends it", client: ask, server: reply, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, w.seq[fromClient], ask[:4])
			w.seq[fromClient] += 5
			w.add(fromServer, flow.SYN|flow.ACK, w.seq[fromServer], "")
			w.seq[fromServer]++
			w.send(fromClient, ask[4:], 0).send(fromServer, reply, 0).close()
		}},
		{name: "data in the SYN that the server dropped, so it is sent again", client: ask, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, w.seq[fromClient], ask[:4])
			w.open().send(fromClient, ask, 0).close()
		}},
		{name: "a SYN that is sent again, before and after the first data", client: ask, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, w.seq[fromClient], "")
			w.open().send(fromClient, ask[:9], 0)
			w.add(fromClient, flow.SYN, 100_000_000, "")
			w.send(fromClient, ask[9:], 0).close()
		}},
		{name: "two SYN+ACKs, the first of which the client took", client: ask, server: reply, segs: func(w *wire) {
			w.open()
			w.add(fromServer, flow.SYN|flow.ACK, 77_000_000, "")
			w.send(fromClient, ask, 0).send(fromServer, reply, 0).close()
		}},
		{name: "two SYN+ACKs before the client's reply to the second", client: ask, server: reply, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, 100_000_000, "")
			w.seq[fromClient]++
			w.add(fromServer, flow.SYN|flow.ACK, 77_000_000, "")
			w.add(fromServer, flow.SYN|flow.ACK, w.seq[fromServer], "")
			w.seq[fromServer]++
			w.ack(fromClient)
			w.send(fromClient, ask, 0).send(fromServer, reply, 0).close()
		}},
		{name: "two SYN+ACKs before the client's reply to the first", client: ask, server: reply, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, 100_000_000, "")
			w.seq[fromClient]++
			w.add(fromServer, flow.SYN|flow.ACK, w.seq[fromServer], "")
			w.seq[fromServer]++
			w.add(fromServer, flow.SYN|flow.ACK, 77_000_000, "")
			w.ack(fromClient)
			w.send(fromClient, ask, 0).send(fromServer, reply, 0).close()
		}},
		{name: "a new SYN+ACK after the client's first data", client: ask, server: reply, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, w.seq[fromClient], ask)
			w.seq[fromClient] += 1 + uint32(len(ask))
			w.add(fromServer, flow.SYN|flow.ACK, 77_000_000, "")
			w.add(fromServer, flow.SYN|flow.ACK, w.seq[fromServer], "")
			w.seq[fromServer]++
			w.ack(fromClient)
			w.send(fromServer, reply, 0).close()
		}},
		{name: "a SYN of another try, behind which the data does not begin", client: ask, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, 3_000_000_000, "")
			w.seq[fromClient]++
			w.send(fromClient, ask, 0).close()
		}},
		{name: "a SYN of another try ahead of the data", client: ask, segs: func(w *wire) {
			w.add(fromClient, flow.SYN, w.seq[fromClient]+50_000, "")
			w.seq[fromClient]++
			w.send(fromClient, ask, 0).close()
		}},
		{name: "the server's SYN is missing", client: ask, server: reply, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0).send(fromServer, reply, 4).close()
			w.segs = remove(w.segs, 1)
		}},
		{name: "the server's SYN and first bytes are missing", client: ask, server: "____server's bytes"[:4] + reply[4:], gaps: 4,
			segs: func(w *wire) {
				w.open().send(fromClient, ask, 0)
				n := len(w.segs)
				w.send(fromServer, reply, 4).close()
				w.segs = remove(w.segs, 1, n)
			}},
		{name: "no SYN at all", client: ask, server: reply, segs: func(w *wire) {
			w.send(fromClient, ask, 5).send(fromServer, reply, 7).close()
		}},
		{name: "one direction alone", server: reply, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0).send(fromServer, reply, 4).close()
			var out []flow.Segment
			for _, s := range w.segs {
				if s.SrcPort == w.tuple.DstPort {
					out = append(out, s)
				}
			}
			w.segs = out
		}, client: strings.Repeat("_", len(ask)+1), gaps: uint64(len(ask)) + 1}, // the FIN's number cannot be told from a byte's
		{name: "a FIN before the data that it follows", client: ask, segs: func(w *wire) {
			w.open().send(fromClient, ask, 6)
			n := len(w.segs)
			w.add(fromClient, flow.FIN|flow.ACK, w.seq[fromClient], "")
			w.segs[n], w.segs[n-2] = w.segs[n-2], w.segs[n]
		}},
		{name: "one side closes and the other goes on", client: ask, server: reply, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.add(fromClient, flow.FIN|flow.ACK, w.seq[fromClient], "")
			w.seq[fromClient]++
			w.send(fromServer, reply, 3)
			w.add(fromServer, flow.FIN|flow.ACK, w.seq[fromServer], "")
		}},
		{name: "data behind both FINs, within the second that captures may reorder", client: ask, server: reply, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0).send(fromServer, reply, 4).close()
			moved := w.segs[6]
			w.segs = append(remove(w.segs, 6), moved)
			w.segs[len(w.segs)-1].Time += int64(time.Second) / 2
		}},
		{name: "a keep-alive of one byte, and of none", client: ask, segs: func(w *wire) {
			w.open().send(fromClient, ask[:9], 0)
			w.add(fromClient, flow.ACK, w.seq[fromClient]-1, "X")
			w.add(fromClient, flow.ACK, w.seq[fromClient]-1, "")
			w.send(fromClient, ask[9:], 0).close()
		}},
		{name: "padding of bare acknowledgements", client: ask, server: reply, segs: func(w *wire) {
			w.open()
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00")
			w.send(fromClient, ask, 0)
			w.add(fromServer, flow.ACK, w.seq[fromServer], "\x00\x00\x00\x00\x00\x00")
			w.add(fromServer, flow.ACK, w.seq[fromServer], "\x00\x00\x00\x00\x00\x00")
			w.send(fromServer, reply, 0)
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00\x00\x00\x00\x00")
			w.close()
		}},
		{name: "padding that comes before bytes which it follows", client: ask + ask, segs: func(w *wire) {
			w.open()
			first := *w.add(fromClient, psh, w.seq[fromClient], ask)
			w.segs = w.segs[:len(w.segs)-1]
			w.seq[fromClient] += uint32(len(ask))
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00\x00\x00\x00\x00")
			w.segs = append(w.segs, first)
			w.send(fromClient, ask, 0).close()
		}},
		{name: "padding, then what was sent before it once more", client: ask + "more", segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00\x00\x00\x00\x00")
			w.add(fromClient, psh, w.seq[fromClient]-uint32(len(ask)), ask)
			w.send(fromClient, "more", 0).close()
		}},
		{name: "padding whose place was lost", client: ask + "_____more", gaps: 5, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00\x00\x00")
			w.seq[fromClient] += 5 // lost
			w.send(fromClient, "more", 0).close()
		}},
		{name: "padding of a flow whose beginning was not captured", client: ask, segs: func(w *wire) {
			w.add(fromClient, flow.ACK, w.seq[fromClient], "\x00\x00\x00\x00\x00\x00")
			w.add(fromServer, flow.ACK, w.seq[fromServer], "\x00\x00\x00\x00\x00\x00")
			w.send(fromClient, ask, 0).close()
		}},
		{name: "zeros byte by byte, without PSH", client: "\x00a\x00\x00b\x00", segs: func(w *wire) {
			w.open()
			for _, b := range []string{"\x00", "a", "\x00", "\x00", "b", "\x00"} {
				w.add(fromClient, flow.ACK, w.seq[fromClient], b)
				w.seq[fromClient]++
			}
			w.close()
		}},
		{name: "a last zero that the FIN does not vouch for, but the acknowledgement", client: "a\x00", segs: func(w *wire) {
			w.open()
			for _, b := range []string{"a", "\x00"} {
				w.add(fromClient, flow.ACK, w.seq[fromClient], b)
				w.seq[fromClient]++
			}
			w.ack(fromServer)
		}},
		{name: "a hole that its receiver acknowledged, and much behind it", client: "____" + strings.Repeat("x", 4*40), gaps: 4, segs: func(w *wire) {
			w.open()
			w.seq[fromClient] += 4
			w.send(fromClient, strings.Repeat("x", 4*40), 4).close()
		}},
		{name: "an ending that was not captured, as the FIN shows", client: ask + "____", gaps: 4, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.seq[fromClient] += 4
			w.add(fromClient, flow.FIN|flow.ACK, w.seq[fromClient], "")
		}},
		{name: "an ending that was not captured, as the RST shows", client: ask + "____", gaps: 4, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.seq[fromClient] += 4
			w.add(fromClient, flow.RST|flow.ACK, w.seq[fromClient], "")
		}},
		{name: "an ending that was not captured, as the acknowledgement shows", client: ask + "____", gaps: 4, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.seq[fromClient] += 4
			w.ack(fromServer)
		}},
		{name: "megabytes at the end that were not captured", client: ask + strings.Repeat("_", 3<<20), gaps: 3 << 20, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.seq[fromClient] += 3 << 20
			w.ack(fromServer)
			w.add(fromClient, flow.FIN|flow.ACK, w.seq[fromClient], "")
		}},
		{name: "a FIN that was not captured is no missing byte", client: ask, segs: func(w *wire) {
			w.open().send(fromClient, ask, 0)
			w.seq[fromClient]++
			w.ack(fromServer)
		}},
		{name: "bytes cut off by the snap length", client: "the ____nt's bytes", gaps: 4, segs: func(w *wire) {
			w.open()
			s := w.add(fromClient, psh, w.seq[fromClient], ask[:4])
			s.Length = 8
			w.seq[fromClient] += 8
			w.send(fromClient, ask[8:], 0).close()
		}},
		{name: "bytes cut off by the snap length that another segment brings", client: ask, segs: func(w *wire) {
			w.open()
			w.add(fromClient, psh, w.seq[fromClient]+4, ask[4:])
			s := w.add(fromClient, psh, w.seq[fromClient], ask[:4])
			s.Length = 8
			w.seq[fromClient] += uint32(len(ask))
			w.close()
		}},
		{name: "two copies of which the first counts", client: ask, conflict: 3, segs: func(w *wire) {
			w.open().send(fromClient, ask[:9], 0)
			w.add(fromClient, psh, w.seq[fromClient]-5, strings.ToUpper(ask[4:7])+ask[7:9])
			w.send(fromClient, ask[9:], 0).close()
		}},
		{name: "segments far out of the window", client: ask, stray: 3, segs: func(w *wire) {
			w.open().send(fromClient, ask[:9], 0)
			for n := range uint32(3) {
				w.add(fromClient, psh, w.seq[fromClient]+500_000_000*(n+1), "injected")
			}
			w.add(fromClient, psh, w.seq[fromClient]-500_000_000, "injected")
			w.send(fromClient, ask[9:], 0).close()
		}},
		{name: "a first segment far out of the window, though the SYN was acknowledged", client: ask, stray: 1, segs: func(w *wire) {
			w.open()
			w.add(fromClient, psh, w.seq[fromClient]+500_000_000, "injected")
			w.add(fromClient, psh, w.seq[fromClient]-500_000_000, "injected")
			w.send(fromClient, ask, 0).close()
		}},
		{name: "payload in a FIN", client: ask, segs: func(w *wire) {
			w.open()
			w.add(fromClient, psh|flow.FIN, w.seq[fromClient], ask)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(clientAddr, farAddr)
			tt.segs(w)
			out, stats := reassemble(t, w.segs, nil)
			if got := out.text(fromClient); got != tt.client {
				t.Errorf("client: %q, want %q", got, tt.client)
			}
			if got := out.text(fromServer); tt.server != "" && got != tt.server {
				t.Errorf("server: %q, want %q", got, tt.server)
			}
			if stats.GapBytes != tt.gaps || stats.ConflictBytes != tt.conflict || stats.OutOfWindow != tt.stray {
				t.Errorf("%d bytes missing, %d conflict, %d segments out of window, want %d, %d, %d",
					stats.GapBytes, stats.ConflictBytes, stats.OutOfWindow, tt.gaps, tt.conflict, tt.stray)
			}
		})
	}
}

// flows counts the flows that the bytes of one five-tuple were taken for.
func TestANewConnectionOnTheSameFiveTuple(t *testing.T) {
	first := func() *wire { return newWire(clientAddr, farAddr).open().send(fromClient, "one", 0) }
	second := func(w *wire) *wire {
		w.seq = [2]uint32{70_000_000, 80_000_000}
		return w
	}
	for _, tt := range []struct {
		name  string
		segs  func() *wire
		flows uint64
		text  string
	}{
		{"after both FINs", func() *wire { return second(first().close()).open().send(fromClient, "two", 0) }, 2, "onetwo"},
		{"after an RST", func() *wire {
			w := first()
			w.add(fromClient, flow.RST, w.seq[fromClient], "")
			return second(w).open().send(fromClient, "two", 0)
		}, 2, "onetwo"},
		{"without an end, confirmed by the SYN+ACK", func() *wire { return second(first()).open().send(fromClient, "two", 0) }, 2, "onetwo"},
		{"without an end, confirmed by data alone", func() *wire {
			w := second(first())
			n := len(w.segs)
			w.open()
			w.segs = w.segs[:n+1]
			return w.send(fromClient, "two", 0)
		}, 2, "onetwo"},
		{"a stray SYN changes nothing", func() *wire {
			w := first()
			w.add(fromClient, flow.SYN, 70_000_000, "")
			return w.send(fromClient, "two", 0)
		}, 1, "onetwo"},
		{"a stray SYN of the server's changes nothing", func() *wire {
			w := first()
			w.add(fromServer, flow.SYN, 70_000_000, "")
			return w.send(fromClient, "two", 0)
		}, 1, "onetwo"},
		{"a SYN behind a FIN from nowhere changes nothing", func() *wire {
			w := first()
			w.add(fromClient, flow.FIN|flow.ACK, 2_000_000_000, "")
			w.add(fromClient, flow.SYN, 70_000_000, "")
			return w.send(fromClient, "two", 0)
		}, 1, "onetwo"},
		{"a SYN behind an RST from nowhere changes nothing", func() *wire {
			w := first()
			w.add(fromClient, flow.RST, 2_000_000_000, "")
			w.add(fromClient, flow.RST, 0, "")
			w.add(fromClient, flow.SYN, 70_000_000, "")
			return w.send(fromClient, "two", 0)
		}, 1, "onetwo"},
		{"after one that carried nothing", func() *wire {
			w := newWire(clientAddr, farAddr).open().close()
			return second(w).open().send(fromClient, "two", 0)
		}, 2, "two"},
		{"after one that carried nothing, the SYN+ACK missing", func() *wire {
			w := second(newWire(clientAddr, farAddr).open().close())
			n := len(w.segs)
			w.open().send(fromClient, "two", 0)
			w.segs = remove(w.segs, n+1)
			return w
		}, 2, "two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, stats := reassemble(t, tt.segs().segs, nil)
			if got := out.text(fromClient); got != tt.text || stats.Flows != tt.flows || stats.GapBytes != 0 {
				t.Errorf("%q in %d flows, %d bytes missing, want %q in %d", got, stats.Flows, stats.GapBytes, tt.text, tt.flows)
			}
		})
	}
}

func TestAnInjectedRSTDoesNotEndAFlowThatGoesOn(t *testing.T) {
	d := handshake{}.dialogue(t)
	w := newWire(clientAddr, dynamodbAddr).open().say(d[:1], 0)
	w.add(fromServer, flow.RST, w.seq[fromServer], "")
	w.now = w.now.Add(100 * time.Millisecond)
	w.say(d[1:2], 0)
	w.now = w.now.Add(5 * time.Second) // the RST would have ended it by now
	w.say(d[2:], 0).close()
	s := newRun(t, nil).feed(w.segs...).only(t)
	if s.TLS.Version == 0 || !s.TLS.ClientAppData || s.Ended.RST || !s.Ended.FIN || s.Loss.Any() {
		t.Errorf("ended %+v, loss %+v, TLS %+v", s.Ended, s.Loss, *s.TLS)
	}
}

func TestTheEndBelongsToWhoSentItFirst(t *testing.T) {
	for _, tt := range []struct {
		name     string
		end      func(w *wire)
		fin, rst bool
		server   bool
	}{
		{"no end", func(*wire) {}, false, false, false},
		{"the client's FIN", func(w *wire) { w.close() }, true, false, false},
		{"the server's FIN, then the client's RST", func(w *wire) {
			w.add(fromServer, flow.FIN|flow.ACK, w.seq[fromServer], "")
			w.add(fromClient, flow.RST, w.seq[fromClient], "")
		}, true, false, true},
		{"the client's RST", func(w *wire) { w.add(fromClient, flow.RST, w.seq[fromClient], "") }, false, true, false},
		{"an RST from nowhere", func(w *wire) { w.add(fromClient, flow.RST, w.seq[fromClient]+50_000_000, "") }, false, false, false},
		{"a FIN from nowhere", func(w *wire) { w.add(fromClient, flow.FIN, w.seq[fromClient]+50_000_000, "") }, false, false, false},
		{"an RST far behind what is read of the reply", func(w *wire) {
			for range 3000 {
				w.send(fromServer, strings.Repeat("x", 1448), 0)
			}
			w.add(fromServer, flow.RST, w.seq[fromServer], "")
		}, false, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(clientAddr, dynamodbAddr).open().say(handshake{}.dialogue(t), 0)
			tt.end(w)
			s := newRun(t, nil).feed(w.segs...).only(t)
			if e := s.Ended; e.FIN != tt.fin || e.RST != tt.rst || (e.FIN || e.RST) && (e.By == 1) != tt.server {
				t.Errorf("%+v", e)
			}
		})
	}
}

// many are flows of one packet list, each with its own client port.
func many(n int, one func(i int, w *wire)) []flow.Segment {
	var segs []flow.Segment
	for i := range n {
		w := newWire(clientAddr, dynamodbAddr)
		w.tuple.SrcPort = uint16(i)
		w.tuple.SrcIP[13] = byte(i >> 16)
		w.now = start.Add(time.Duration(i) * time.Microsecond)
		one(i, w)
		segs = append(segs, w.segs...)
	}
	return segs
}

func TestAFullTableGivesUpHalfOpenFlowsFirst(t *testing.T) {
	ask := string(handshake{}.dialogue(t)[0].Data)
	r := newRun(t, func(o *Options) { o.MaxFlows = 500 })
	r.feedOpen(many(50, func(_ int, w *wire) { w.open().send(fromClient, ask, 0) }))
	r.feedOpen(many(100_000, func(_ int, w *wire) {
		w.tuple.SrcIP[12] = 99
		w.add(fromClient, flow.SYN, 1, "")
	}))
	checkBounds(t, r.Analyzer)
	if st := r.Stats(); st.EvictedActive != 0 || st.EvictedOpening < 99_000 {
		t.Errorf("evicted: %d opening, %d active", st.EvictedOpening, st.EvictedActive)
	}
	r.Flush()
	if len(r.sessions) != 50 {
		t.Errorf("%d sessions, want 50", len(r.sessions))
	}
}

// Flows that are over stay for a while, to know their late packets. They are not worth a connection whose first bytes are still to come.
func TestAFullTableKeepsConnectionsThatBegin(t *testing.T) {
	dialogue := handshake{}.dialogue(t)
	r := newRun(t, func(o *Options) { o.MaxFlows = 500 })
	var begun []*wire
	for i := range 3000 {
		w := newWire(clientAddr, dynamodbAddr)
		w.tuple.SrcPort, w.tuple.SrcIP[12], w.now = uint16(i), 98, start.Add(time.Duration(i)*time.Millisecond)
		if w.open(); i%10 != 0 {
			r.feedOpen(w.say(dialogue, 0).close().segs)
			continue
		}
		r.feedOpen(w.segs)
		if begun = append(begun, w); len(begun) > 100 { // a second later
			late := begun[0]
			late.segs, late.now, begun = nil, w.now, begun[1:]
			r.feedOpen(late.say(dialogue, 0).close().segs)
		}
	}
	if st := r.Stats(); st.EvictedActive != 0 || st.EvictedOpening != 0 || st.EvictedFinished < 2000 {
		t.Errorf("evicted: %d opening, %d active, %d finished", st.EvictedOpening, st.EvictedActive, st.EvictedFinished)
	}
	r.Flush()
	if len(r.sessions) != 2900 {
		t.Errorf("%d sessions", len(r.sessions))
	}
	for _, s := range r.sessions {
		if s.Verdict == "incomplete" {
			t.Fatalf("%+v", s)
		}
	}
}

// Connections that end without a byte of payload, such as those of health checks, are no loss when they make room.
func TestConnectionsWithoutPayloadAreNoLossOnceClosed(t *testing.T) {
	for name, end := range map[string]func(*wire){
		"closed": func(w *wire) { w.open().close() },
		"reset":  func(w *wire) { w.open().add(fromServer, flow.RST, w.seq[fromServer], "") },
		"refused": func(w *wire) {
			w.add(fromClient, flow.SYN, 1, "")
			w.add(fromServer, flow.RST|flow.ACK, 0, "")
		},
	} {
		r := newRun(t, func(o *Options) { o.MaxFlows = 100 })
		r.feedOpen(many(1000, func(_ int, w *wire) { end(w) }))
		if st := r.Stats(); st.EvictedOpening != 0 || st.EvictedFinished != 900 || st.HalfOpen != 900 {
			t.Errorf("%s: evicted: %d opening, %d finished; %d half open", name, st.EvictedOpening, st.EvictedFinished, st.HalfOpen)
		}
	}
}

// feedOpen gives segments to the Analyzer and does not end the capture.
func (r *run) feedOpen(segs []flow.Segment) {
	for i := range segs {
		seg := segs[i]
		r.Segment(&seg)
	}
}

func TestEvictedSessionsAreIncomplete(t *testing.T) {
	d := handshake{max: 0x303}.dialogue(t)
	for _, tt := range []struct {
		name  string
		bound func(*Options)
	}{
		{"by the number of flows", func(o *Options) { o.MaxFlows = 3 }},
		{"by memory", func(o *Options) { o.MaxMemory = 30_000 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, tt.bound)
			for _, seg := range many(40, func(_ int, w *wire) { w.open().say(d[:1], 0) }) {
				r.Segment(&seg)
				checkBounds(t, r.Analyzer)
			}
			r.Flush()
			if len(r.sessions) != 40 || r.Stats().EvictedActive < 30 {
				t.Fatalf("%d sessions, %d evicted", len(r.sessions), r.Stats().EvictedActive)
			}
			for _, s := range r.sessions {
				if s.Verdict == "ok" || s.Loss.Evicted && s.Verdict != "incomplete" {
					t.Errorf("verdict %s, loss %+v", s.Verdict, s.Loss)
				}
			}
		})
	}
}

func TestHeldBytesAreBoundedOverAllFlows(t *testing.T) {
	piece := strings.Repeat("x", 1000)
	r := newRun(t, func(o *Options) { o.MaxBuffered = 100_000 })
	held := 0
	for _, seg := range many(50, func(_ int, w *wire) {
		w.open()
		for n := range uint32(20) {
			w.add(fromClient, flow.ACK, w.seq[fromClient]+100+n*2000, piece) // a hole before each
		}
	}) {
		r.Segment(&seg)
		checkBounds(t, r.Analyzer)
		held = max(held, r.buffered)
	}
	if held < 90_000 || r.Stats().HolesForced == 0 {
		t.Errorf("%d bytes held at most, %d holes forced", held, r.Stats().HolesForced)
	}
	r.Flush()
}

// One flow that holds much must not make another one lose its holes.
func TestWhoHoldsMostGivesWay(t *testing.T) {
	r := newRun(t, func(o *Options) { o.MaxBuffered = 100_000 })
	var texts [2]string
	greedy := newWire("10.0.0.6:1", farAddr).open()
	r.tap = func(_ uint8, data []byte, gap int) { texts[0] += string(data) }
	r.feedOpen(greedy.segs)
	modest := newWire("10.0.0.7:1", farAddr).open()
	r.feedOpen(modest.segs)
	for n := range uint32(100) {
		greedy.segs = nil
		greedy.add(fromClient, flow.ACK, greedy.seq[fromClient]+100+n*2000, strings.Repeat("x", 900))
		r.feedOpen(greedy.segs)
	}
	r.tap = func(_ uint8, data []byte, gap int) { texts[1] += string(data) + strings.Repeat("_", gap) }
	modest.segs = nil
	modest.add(fromClient, flow.ACK, modest.seq[fromClient]+3, "second")
	modest.add(fromClient, flow.ACK, modest.seq[fromClient], "one")
	r.feedOpen(modest.segs)
	if texts[1] != "onesecond" {
		t.Errorf("the modest flow got %q", texts[1])
	}
}

func TestTimeMayStandStillJumpAndGoBack(t *testing.T) {
	d := handshake{max: 0x303}.dialogue(t)
	const n = 6000
	for _, tt := range []struct {
		name string
		at   func(i int, t int64) int64
	}{
		{"no time at all", func(int, int64) int64 { return 0 }},
		{"time stands still", func(int, int64) int64 { return start.UnixNano() }},
		{"time goes backwards", func(i int, t int64) int64 { return t - int64(i)*int64(time.Minute) }},
		{"before 1970", func(i int, t int64) int64 { return -t }},
		{"one packet of the far future", func(i int, t int64) int64 {
			if i == 3000 {
				return math.MaxInt64
			}
			return t
		}},
		{"the first packet is of the far future", func(i int, t int64) int64 {
			if i == 0 {
				return math.MaxInt64
			}
			return t
		}},
		{"every other packet is of the far future", func(i int, t int64) int64 {
			if i%2 == 0 {
				return math.MaxInt64 - 10
			}
			return t
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, nil)
			segs := many(n/12, func(_ int, w *wire) { w.open().say(d, 0).close() })
			// Interleave the flows, so that many are open at a time.
			per := len(segs) / (n / 12)
			i := 0
			for from := range per {
				for at := from; at < len(segs); at += per {
					seg := segs[at]
					seg.Time = tt.at(i, seg.Time)
					r.Segment(&seg)
					if i++; i%64 == 0 {
						checkBounds(t, r.Analyzer)
					}
				}
			}
			r.Flush()
			checkBounds(t, r.Analyzer)
			if len(r.sessions) != n/12 {
				t.Fatalf("%d sessions, want %d", len(r.sessions), n/12)
			}
			for _, s := range r.sessions {
				if !s.TLS.ClientAppData || s.Loss.Any() {
					t.Fatalf("loss %+v, TLS %+v", s.Loss, *s.TLS)
				}
			}
		})
	}
}

func TestIdleFlowsAreForgottenAtTheirTime(t *testing.T) {
	d := handshake{}.dialogue(t)
	for _, tt := range []struct {
		name     string
		silence  time.Duration
		sessions int
		late     string // what is sent after the silence
	}{
		{"a connection opened in advance", 290 * time.Second, 1, "hello"},
		{"a connection opened in advance, too long ago", 310 * time.Second, 1, "hello"}, // its hello says all the same who is who
		{"a session that goes on", 3500 * time.Second, 1, "data"},
		{"a session that was given up", 3700 * time.Second, 2, "data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, nil)
			w := newWire(clientAddr, dynamodbAddr).open()
			if tt.late == "data" {
				w.say(d, 0)
			}
			w.now = w.now.Add(tt.silence)
			other := newWire("10.0.0.9:9", farAddr)
			other.now = w.now
			for range 2 * clockPackets { // time does not jump for one packet
				other.add(fromClient, flow.SYN, 1, "")
			}
			n := len(w.segs)
			w.say(d, 0).close()
			r.feedOpen(w.segs[:n])
			r.feedOpen(other.segs)
			r.feedOpen(w.segs[n:])
			r.Flush()
			if len(r.sessions) != tt.sessions {
				t.Errorf("%d sessions, want %d", len(r.sessions), tt.sessions)
			}
			if r.sessions[0].TLS.SNI != dynamodbName {
				t.Errorf("SNI %q", r.sessions[0].TLS.SNI)
			}
		})
	}
}

func TestFlushMayComeTwiceAndMoreMayFollow(t *testing.T) {
	r := newRun(t, nil)
	segs := newWire(clientAddr, dynamodbAddr).open().say(handshake{}.dialogue(t), 0).close().segs
	for n := range 3 {
		r.feed(segs...).Flush()
		if len(r.sessions) != n+1 {
			t.Fatalf("%d sessions after %d captures", len(r.sessions), n+1)
		}
		checkBounds(t, r.Analyzer)
	}
}
