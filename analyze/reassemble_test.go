package analyze

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// piece is something that reassembly told: bytes, or a gap of n.
type piece struct {
	data []byte
	gap  int
}

// tape is what reassembly told of each direction of the only flow: 0 is the client's.
type tape [2][]piece

// text is the bytes of a direction in order, with gaps as that many underscores.
func (t *tape) text(from int) string {
	var b bytes.Buffer
	for _, p := range t[from] {
		b.Write(p.data)
		for range p.gap {
			b.WriteByte('_')
		}
	}
	return b.String()
}

func (t *tape) gaps(from int) (n int) {
	for _, p := range t[from] {
		n += p.gap
	}
	return n
}

// reassemble runs segments through an Analyzer that does not look at the bytes.
func reassemble(t testing.TB, segs []flow.Segment, change func(*Options)) (*tape, Stats) {
	t.Helper()
	r := newRun(t, change)
	var out tape
	k, _ := keyOf(&segs[0].FiveTuple, 0)
	client := 0
	for _, s := range segs { // the client is who sent the SYN, or the higher port
		if s.Flags&(flow.SYN|flow.ACK) == flow.SYN || s.SrcPort > s.DstPort {
			if s.SrcIP != k.a || s.SrcPort != k.pa {
				client = 1
			}
			break
		}
	}
	r.tap = func(dir uint8, data []byte, gap int) {
		from := int(dir) ^ client
		out[from] = append(out[from], piece{bytes.Clone(data), gap})
	}
	for i := range segs {
		seg := segs[i]
		// The source may use its buffer anew.
		seg.Payload = bytes.Clone(seg.Payload)
		r.Segment(&seg)
		clear(seg.Payload)
		checkBounds(t, r.Analyzer)
	}
	r.Flush()
	r.Flush()
	if r.buffered != 0 || r.memory != 0 {
		t.Fatalf("%d bytes are still counted as held, %d as taken", r.buffered, r.memory)
	}
	return &out, r.Stats()
}

// checkBounds holds an Analyzer to its own bounds and to the consistency of its parts.
func checkBounds(t testing.TB, a *Analyzer) {
	t.Helper()
	sum, memory, inUse := 0, 0, 0
	for _, c := range a.conns {
		if !c.inUse {
			continue
		}
		inUse++
		memory += c.weighed
		if s := a.table.find(&c.key); s == nil || s.state != slotActive || s.conn != c.index {
			t.Fatalf("a conn is in use that no slot knows: %+v", s)
		}
		for i := range c.streams {
			st := &c.streams[i]
			n := 0
			for j := range st.pending {
				p := &st.pending[j]
				n += len(p.data)
				if j > 0 && int32(p.seq-st.pending[j-1].end()) < 0 {
					t.Fatal("held segments overlap")
				}
				if d := st.distance(p.seq); d < 0 || d == 0 && !p.doubt {
					t.Fatalf("a segment is held that is not ahead: %d", d)
				}
			}
			if n != st.pendingBytes {
				t.Fatalf("%d bytes are held, but %d counted", n, st.pendingBytes)
			}
			if n > maxPending || len(st.pending) > maxPendingChunks || cap(st.kept) > 4*maxKept {
				t.Fatalf("%d bytes in %d segments are held, %d kept", n, len(st.pending), cap(st.kept))
			}
			sum += st.counted
		}
	}
	if sum != a.buffered || sum > a.o.MaxBuffered {
		t.Fatalf("%d bytes are held in all, %d counted, %d allowed", sum, a.buffered, a.o.MaxBuffered)
	}
	if memory != a.memory || memory > a.o.MaxMemory {
		t.Fatalf("flows take %d bytes, %d counted, %d allowed", memory, a.memory, a.o.MaxMemory)
	}
	if inUse+len(a.free) != len(a.conns) {
		t.Fatalf("%d conns in use, %d free, of %d", inUse, len(a.free), len(a.conns))
	}
	if len(a.ended) > maxLingering {
		t.Fatalf("%d ended flows linger", len(a.ended))
	}
	if a.table.used > a.o.MaxFlows {
		t.Fatalf("%d flows, of %d allowed", a.table.used, a.o.MaxFlows)
	}
}

// chooser takes decisions from fuzzed bytes, and from a fixed sequence once they are used up.
type chooser struct {
	choices []byte
	then    *rand.Rand
}

func newChooser(choices []byte) *chooser {
	return &chooser{choices, rand.New(rand.NewPCG(uint64(len(choices)), 7))}
}

// below is a number in [0, n).
func (c *chooser) below(n int) int {
	if len(c.choices) == 0 {
		return c.then.IntN(n)
	}
	b := int(c.choices[0])
	c.choices = c.choices[1:]
	if n > 256 && len(c.choices) > 0 {
		b |= int(c.choices[0]) << 8
		c.choices = c.choices[1:]
	}
	return b % n
}

// cut is data of the client in segments of random sizes.
func cut(c *chooser, w *wire, data []byte, most int) []flow.Segment {
	n := len(w.segs)
	base := w.seq[fromClient]
	for off := 0; off < len(data); {
		k := min(1+c.below(most), len(data)-off)
		flags := flow.ACK
		if c.below(3) == 0 {
			flags |= flow.PSH
		}
		w.add(fromClient, flags, base+uint32(off), string(data[off:off+k]))
		off += k
	}
	w.seq[fromClient] = base + uint32(len(data))
	segs := slices.Clone(w.segs[n:])
	w.segs = w.segs[:n]
	return segs
}

// shuffle moves segments, none of them more than far places: what waits behind a hole stays within maxPendingChunks.
func shuffle(c *chooser, segs []flow.Segment, far int) {
	moved := make([]bool, len(segs))
	for i := range segs {
		j := min(i+c.below(far), len(segs)-1)
		if c.below(2) == 0 && !moved[i] {
			segs[i], segs[j] = segs[j], segs[i]
			moved[j] = true
		}
	}
}

// seeds are streams, zeros among them, with choices.
func addSeeds(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 7, 300, 4000} {
		data, choices := make([]byte, n), make([]byte, n)
		for i := range data {
			data[i], choices[i] = "\x00abc"[r.IntN(4)], byte(r.Uint32())
		}
		f.Add(data, choices, uint8(3))
		f.Add(data, []byte{}, uint8(200))
	}
}

// Whatever the segmentation, order and repetition: the bytes arrive once, in order.
func FuzzReassembly(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data, choices []byte, most uint8) {
		data = data[:min(len(data), 4096)]
		if len(data) == 0 {
			return
		}
		c := newChooser(choices)
		w := newWire(clientAddr, farAddr)
		w.seq[fromClient] = -uint32(c.below(2 * len(data))) // wraps somewhere
		w.open()
		base := w.seq[fromClient]
		segs := cut(c, w, data, int(most)+1)
		for n := c.below(8); n > 0; n-- { // whole repetitions
			segs = slices.Insert(segs, c.below(len(segs)+1), segs[c.below(len(segs))])
		}
		for n := c.below(8); n > 0; n-- { // pieces cut anew
			off := c.below(len(data))
			k := min(1+c.below(300), len(data)-off)
			if bytes.IndexByte(data, 0) >= 0 {
				break // a part of something that may be padding says nothing of the rest of it
			}
			again := *w.add(fromClient, flow.ACK, base+uint32(off), string(data[off:off+k]))
			w.segs = w.segs[:len(w.segs)-1]
			segs = slices.Insert(segs, c.below(len(segs)+1), again)
		}
		shuffle(c, segs, 12)
		w.segs = append(w.segs, segs...)
		w.close()
		out, stats := reassemble(t, w.segs, nil)
		if got := out.text(fromClient); got != string(data) {
			t.Fatalf("got %d bytes, %d of them gaps, want %d\n%q\n%q", len(got), out.gaps(fromClient), len(data), got, data)
		}
		if stats.ConflictBytes != 0 || stats.GapBytes != 0 {
			t.Errorf("%d bytes conflict, %d are missing", stats.ConflictBytes, stats.GapBytes)
		}
	})
}

// Of copies that differ the first wins, and every byte of a later copy that differs is counted.
func FuzzConflictingCopies(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data, choices []byte, most uint8) {
		data = bytes.ReplaceAll(data[:min(len(data), 4096)], []byte{0}, []byte{'z'})
		if len(data) < 8 {
			return
		}
		c := newChooser(choices)
		w := newWire(clientAddr, farAddr).open()
		base := w.seq[fromClient]
		segs := cut(c, w, data, int(most)+8)
		for n := 1 + c.below(8); n > 0; n-- {
			off := c.below(len(data))
			k := min(2+c.below(300), len(data)-off)
			if k < 2 {
				continue // may be a keep-alive
			}
			forged := slices.Clone(data[off : off+k])
			for i := range forged {
				if c.below(2) == 0 {
					forged[i] = 'X'
				}
			}
			segs = slices.Insert(segs, c.below(len(segs)+1), *w.add(fromClient, flow.ACK|flow.PSH, base+uint32(off), string(forged)))
			w.segs = w.segs[:len(w.segs)-1]
		}
		shuffle(c, segs, 60)
		want := make([]byte, len(data))
		var differ, perhaps uint64 // a single byte may be a keep-alive
		for _, s := range segs {
			for i, b := range s.Payload {
				at := int(s.Seq-base) + i
				switch {
				case want[at] == 0:
					want[at] = b
				case want[at] != b && len(s.Payload) > 1:
					differ++
				case want[at] != b:
					perhaps++
				}
			}
		}
		w.segs = append(w.segs, segs...)
		w.close()
		out, stats := reassemble(t, w.segs, nil)
		if got := out.text(fromClient); got != string(want) {
			t.Fatalf("got\n%q, want\n%q", got, want)
		}
		if n := stats.ConflictBytes; n < differ || n > differ+perhaps {
			t.Errorf("%d bytes conflict, want %d, and perhaps %d more", n, differ, perhaps)
		}
	})
}

// What is missing is told as a gap in its place, and nothing else is.
func FuzzHoles(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data, choices []byte, most uint8) {
		data = bytes.ReplaceAll(data[:min(len(data), 4096)], []byte{0}, []byte{'z'})
		data = bytes.ReplaceAll(data, []byte{'_'}, []byte{'z'})
		if len(data) == 0 {
			return
		}
		c := newChooser(choices)
		w := newWire(clientAddr, farAddr).open()
		base := w.seq[fromClient]
		acks := c.below(2) == 0
		want := bytes.Repeat([]byte{'_'}, len(data))
		var segs []flow.Segment
		for _, s := range cut(c, w, data, int(most)+1) {
			switch c.below(6) {
			case 0:
				continue
			case 1: // cut off by the snap length
				s.Payload = s.Payload[:c.below(len(s.Payload)+1)]
			}
			copy(want[s.Seq-base:], s.Payload)
			segs = append(segs, s)
			if acks {
				ack := flow.Segment{FiveTuple: w.tuple.Reverse(), Time: s.Time, Seq: w.seq[fromServer], Ack: s.Seq + uint32(s.Length), Flags: flow.ACK}
				segs = append(segs, ack)
			}
		}
		if len(segs) == 0 {
			return // a connection that carried nothing
		}
		if !acks { // an acknowledged hole is given up after a while
			shuffle(c, segs, 12)
		}
		w.segs = append(w.segs, segs...)
		w.close()
		out, stats := reassemble(t, w.segs, nil)
		if got := out.text(fromClient); got != string(want) {
			t.Fatalf("got\n%q, want\n%q", got, want)
		}
		if n := bytes.Count(want, []byte{'_'}); stats.GapBytes != uint64(n) {
			t.Errorf("%d bytes are told as missing, want %d", stats.GapBytes, n)
		}
	})
}
