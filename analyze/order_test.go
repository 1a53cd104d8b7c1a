package analyze

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// FuzzOrder opens and ends flows at will: every session comes out, once, and in order but for those that are counted late.
func FuzzOrder(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{10, 200, 2000} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		var o orderer
		var out []place
		places := make(map[*session.Session]place)
		o.emit = func(s *session.Session, _ *kin) { out = append(out, places[s]) }
		var open []*conn
		finished, late := 0, 0
		clock := int64(0)
		for i := 0; i+1 < len(ops); i += 2 {
			switch op, arg := ops[i]%4, int(ops[i+1]); {
			case op < 2 || len(open) == 0:
				clock += int64(arg % 3)
				c := &conn{heapIndex: -1, start: clock - int64(arg%7)}
				o.opened(c)
				open = append(open, c)
				if c.place().before(o.last) {
					late++ // nobody could know
				}
			default:
				k := arg % len(open)
				c := open[k]
				open = slices.Delete(open, k, k+1)
				if op == 2 {
					s := &session.Session{}
					places[s] = c.place()
					o.finished(c, s)
					finished++
				}
				o.dropped(c)
			}
		}
		for _, c := range open {
			o.dropped(c)
		}
		o.release()
		if len(out) != finished || len(o.waiting) != 0 || len(o.open) != 0 || o.weight != 0 {
			t.Fatalf("%d of %d sessions came out; %d wait, %d are open, weight %d", len(out), finished, len(o.waiting), len(o.open), o.weight)
		}
		var last place
		var wrong uint64
		for _, p := range out {
			if p.before(last) {
				wrong++
			} else {
				last = p
			}
		}
		if wrong != o.late || int(wrong) > late {
			t.Errorf("%d sessions are out of order, %d counted, at most %d could not be helped", wrong, o.late, late)
		}
	})
}

func TestSessionsOfOneTimeComeInTheOrderOfTheirFlows(t *testing.T) {
	d := handshake{}.dialogue(t)
	for _, at := range []time.Time{start, {}} {
		segs := many(50, func(_ int, w *wire) { w.open().say(d, 0).close() })
		// All flows open, then all speak, and they end in reverse.
		per := len(segs) / 50
		var shuffled []flow.Segment
		for from := range per {
			for i := range 50 {
				k := i
				if from >= per-3 {
					k = 49 - i
				}
				shuffled = append(shuffled, segs[k*per+from])
			}
		}
		for i := range shuffled {
			if shuffled[i].Time = 0; !at.IsZero() {
				shuffled[i].Time = at.UnixNano()
			}
		}
		var first []string
		for range 3 {
			r := newRun(t, nil).feed(shuffled...)
			var ports []string
			for _, s := range r.sessions {
				ports = append(ports, fmt.Sprint(s.Client.Port()))
			}
			if len(ports) != 50 || !slices.IsSortedFunc(r.sessions, func(a, b *session.Session) int { return int(a.Client.Port()) - int(b.Client.Port()) }) {
				t.Fatalf("order %v", ports)
			}
			if first != nil && !slices.Equal(first, ports) {
				t.Errorf("another run gives %v, before %v", ports, first)
			}
			first = ports
		}
	}
}

// The earliest flow stays open; more sessions than may wait end after it.
func TestWaitingSessionsAreBounded(t *testing.T) {
	d := handshake{}.dialogue(t)
	r := newRun(t, nil)
	segs := newWire("10.9.9.9:9", dynamodbAddr).open().say(d, 0).segs
	r.feedOpen(segs)
	const n = maxWaiting + 500
	for i := range n {
		w := newWire(clientAddr, dynamodbAddr)
		w.tuple.SrcPort, w.tuple.SrcIP[13] = uint16(i), byte(i>>16)
		w.now = start.Add(time.Second + time.Duration(i)*time.Millisecond)
		w.open().send(fromClient, string(d[0].Data), 0)
		w.add(fromServer, flow.RST, w.seq[fromServer], "")
		r.feedOpen(w.segs)
	}
	if w := len(r.order.waiting); w > maxWaiting || w < maxWaiting-2000 {
		t.Errorf("%d sessions wait", w)
	}
	r.Flush()
	if len(r.sessions) != n+1 {
		t.Errorf("%d sessions, want %d", len(r.sessions), n+1)
	}
	if late := r.Stats().Late; late != 1 {
		t.Errorf("%d late, want the first alone", late)
	}
}
