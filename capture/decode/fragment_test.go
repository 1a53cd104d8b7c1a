package decode

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const mf = 0x2000 // IPv4's flag for more fragments

// pattern is n bytes that differ from their neighbours.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return string(b)
}

// split4 cuts an IPv4 packet into fragments at the offsets, which are those of its payload and divisible by 8.
func split4(id int, packet []byte, offsets ...int) [][]byte {
	var out [][]byte
	payload := packet[20:]
	offsets = append(offsets, len(payload))
	at := 0
	for _, o := range offsets {
		f := at / 8
		if o < len(payload) {
			f |= mf
		}
		out = append(out, patch(ip4frag(packet[9], f, payload[at:o]), 4, u16(id)...))
		at = o
	}
	return out
}

// feed decodes frames one second apart and returns the results and the segments.
func feed(d *Decoder, frames ...[]byte) (results []Result, segs []flow.Segment) {
	for i, f := range frames {
		var seg flow.Segment
		r := d.Decode(LinkRaw, f, len(f), int64(i)*1e9, &seg)
		results = append(results, r)
		if r == Segment {
			seg.Payload = bytes.Clone(seg.Payload)
			segs = append(segs, seg)
		}
	}
	return results, segs
}

func TestFragmentsAreReassembled(t *testing.T) {
	payload := pattern(1000)
	want := flow.Segment{FiveTuple: tuple4, Seq: testSeq, Ack: testAck, Flags: testFlags, Payload: []byte(payload), Length: 1000}
	want6 := want
	want6.FiveTuple = tuple6
	packet := ip4(protoTCP, tcp(payload))
	three := split4(7, packet, 8, 512) // the first cut goes through the TCP header
	body := tcp(payload)
	six := [][]byte{
		ip6(protoFragment, frag6(protoTCP, 0|1, 1<<20, body[:400])),
		ip6(protoHopByHop, ext(protoFragment, 8, frag6(protoTCP, 400|1, 1<<20, body[400:800]))),
		ip6(protoFragment, frag6(99, 800, 1<<20, body[800:])), // the next header of later fragments means nothing
	}
	inner := ip6(protoFragment, frag6(protoTCP, 0|1, 5, body[:600]))
	outer1, outer2 := split4(9, ip4(protoIPv6, inner), 304), split4(10, ip4(protoIPv6, ip6(protoFragment, frag6(protoTCP, 600, 5, body[600:]))), 304)
	tests := []struct {
		name   string
		frames [][]byte
		want   flow.Segment
		stats  Stats
	}{
		{"in order", three, want, Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"backwards", [][]byte{three[2], three[1], three[0]}, want, Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"twice each", [][]byte{three[1], three[1], three[2], three[2], three[0]}, want,
			Stats{FragmentsHeld: 3, FragmentsDuplicate: 2, DatagramsReassembled: 1}},
		{"overlapping with equal bytes", [][]byte{split4(7, packet, 512)[0], split4(7, packet, 256)[1]}, want,
			Stats{FragmentsHeld: 2, DatagramsReassembled: 1}},
		{"a fragment that fills the holes around another", [][]byte{split4(7, packet, 304, 504)[1], split4(7, packet, 8)[1], three[0]}, want,
			Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"padded to 60 bytes", [][]byte{cat(three[0], zeros[:18]), three[1], three[2]}, want, Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"IPv6", six, want6, Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"IPv6 backwards", [][]byte{six[2], six[1], six[0]}, want6, Stats{FragmentsHeld: 3, DatagramsReassembled: 1}},
		{"fragments within fragments", [][]byte{outer1[0], outer2[1], outer1[1], outer2[0]}, want6, Stats{FragmentsHeld: 6, DatagramsReassembled: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Options{})
			results, segs := feed(d, tt.frames...)
			for i, r := range results {
				if last := i == len(results)-1; (r == Segment) != last || !last && r != Fragment {
					t.Errorf("results %v", results)
				}
			}
			if len(segs) != 1 {
				t.Fatalf("%d segments", len(segs))
			}
			tt.want.Time = int64(len(tt.frames)-1) * 1e9
			if !equal(segs[0], tt.want) {
				t.Errorf("got  %+v\nwant %+v", segs[0], tt.want)
			}
			tt.stats.Frames = d.Stats.Frames
			if d.Stats != tt.stats {
				t.Errorf("got  %+v\nwant %+v", d.Stats, tt.stats)
			}
			if d.PendingDatagrams() != 0 || d.frags.memory != 0 {
				t.Errorf("%d datagrams, %d bytes left behind", d.PendingDatagrams(), d.frags.memory)
			}
		})
	}
}

func TestTheFirstBytesWinWhereFragmentsConflict(t *testing.T) {
	packet := ip4(protoTCP, tcp(pattern(200)))
	evil := ip4(protoTCP, tcp(string(bytes.Repeat([]byte{'!'}, 200))))
	good, bad := split4(7, packet, 40, 120), split4(7, evil, 40, 160)
	tests := []struct {
		name        string
		frames      [][]byte
		conflicting uint64
		want        string
	}{
		// tcp's header is 20 bytes, so offset 40 is byte 20 of the payload.
		{"good first", [][]byte{good[1], bad[1], good[0], good[2]}, 2, pattern(200)[:100] + "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!" + pattern(200)[140:]},
		{"bad first", [][]byte{bad[1], good[1], good[0], good[2]}, 2,
			pattern(200)[:20] + string(bytes.Repeat([]byte{'!'}, 120)) + pattern(200)[140:]},
		{"another end of the datagram", [][]byte{good[2], split4(7, packet[:180], 120)[1], good[0], good[1]}, 1, pattern(200)},
		{"bytes behind the end", [][]byte{good[2], patch(ip4frag(protoTCP, mf|216/8, zeros[:8]), 4, 0, 7), good[0], good[1]}, 1, pattern(200)},
		{"an end before bytes that came", [][]byte{good[1], split4(7, packet[:100], 64)[1], good[0], good[2]}, 1, pattern(200)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Options{})
			_, segs := feed(d, tt.frames...)
			if len(segs) != 1 {
				t.Fatalf("%d segments, stats %+v", len(segs), d.Stats)
			}
			if got := string(segs[0].Payload); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if d.Stats.FragmentsConflicting != tt.conflicting {
				t.Errorf("stats %+v", d.Stats)
			}
		})
	}
}

func TestFragmentsOfDifferentDatagramsStayApart(t *testing.T) {
	a, b := split4(1, ip4(protoTCP, tcp(pattern(100))), 64), split4(2, ip4(protoTCP, tcp(pattern(300))), 64)
	d := New(Options{})
	results, segs := feed(d, a[0], b[1], patch(a[1], 9, 99), patch(a[1], 15, 99), b[0], a[1])
	want := []Result{Fragment, Fragment, Fragment, Fragment, Segment, Segment}
	if !slices.Equal(results, want) || segs[0].Length != 300 || segs[1].Length != 100 {
		t.Errorf("results %v, segments %+v", results, segs)
	}
	if d.PendingDatagrams() != 2 {
		t.Errorf("%d pending", d.PendingDatagrams())
	}
}

func TestAFragmentCutByTheSnapLengthCutsThePayloadThere(t *testing.T) {
	parts := split4(7, ip4(protoTCP, tcp(pattern(500))), 200, 400)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		d := New(Options{})
		var seg flow.Segment
		var r Result
		for _, i := range order {
			captured := parts[i]
			if i == 1 {
				captured = captured[:20+50]
			}
			r = d.Decode(LinkRaw, captured, len(parts[i]), 0, &seg)
		}
		if r != Segment || string(seg.Payload) != pattern(500)[:230] || seg.Length != 500 || d.Stats.CutPayloads != 1 {
			t.Errorf("order %v: %v, %d of %d bytes, %+v", order, r, len(seg.Payload), seg.Length, d.Stats)
		}
	}
}

func TestImpossibleFragmentsAreMalformed(t *testing.T) {
	for name, b := range map[string][]byte{
		"no payload":                        ip4frag(protoTCP, mf, nil),
		"less than eight bytes, not last":   ip4frag(protoTCP, mf, zeros[:7]),
		"behind 64 KiB":                     ip4frag(protoTCP, 0x1fff, zeros[:8]),
		"IPv6, not divisible by eight":      ip6(protoFragment, frag6(protoTCP, 1, 1, zeros[:12])),
		"IPv6, behind 64 KiB":               ip6(protoFragment, frag6(protoTCP, 0xfff8, 1, zeros[:8])),
		"IPv6, last and without payload":    ip6(protoFragment, frag6(protoTCP, 8, 1, nil)),
		"IPv6, payload of the header alone": ip6(protoFragment, frag6(protoTCP, 1, 1, nil)),
	} {
		d := New(Options{})
		if r, _ := feed(d, b); r[0] != Malformed || d.PendingDatagrams() != 0 {
			t.Errorf("%s: %v", name, r)
		}
	}
	// Hosts round the length of an IPv4 fragment down.
	d := New(Options{})
	packet := ip4(protoTCP, tcp("0123456789abcdef"))
	r, segs := feed(d, ip4frag(protoTCP, mf, packet[20:20+30]), ip4frag(protoTCP, 24/8, packet[20+24:]))
	if !slices.Equal(r, []Result{Fragment, Segment}) || string(segs[0].Payload) != "0123456789abcdef" {
		t.Errorf("results %v, segments %+v", r, segs)
	}
}

func TestIncompleteDatagramsAreBoundedAndCounted(t *testing.T) {
	first := func(id int) []byte { return split4(id, ip4(protoTCP, tcp(pattern(2000))), 1000)[0] }
	t.Run("number", func(t *testing.T) {
		d := New(Options{FragmentDatagrams: 3, FragmentLifetime: time.Hour})
		for id := range 10 {
			feed(d, first(id))
		}
		if d.PendingDatagrams() != 3 || d.Stats.DatagramsEvicted != 7 {
			t.Errorf("%d pending, %+v", d.PendingDatagrams(), d.Stats)
		}
		// The oldest went: 9 is there still, 0 is not.
		if r, _ := feed(d, split4(9, ip4(protoTCP, tcp(pattern(2000))), 1000)[1]); r[0] != Segment {
			t.Errorf("the newest: %v", r)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		d := New(Options{FragmentBytes: 10_000, FragmentLifetime: time.Hour})
		for id := range 50 {
			feed(d, first(id))
			if d.frags.memory > 10_000 {
				t.Fatalf("%d bytes after %d", d.frags.memory, id)
			}
		}
		if d.PendingDatagrams() == 0 || d.Stats.DatagramsEvicted+uint64(d.PendingDatagrams()) != 50 {
			t.Errorf("%d pending, %+v", d.PendingDatagrams(), d.Stats)
		}
	})
	t.Run("one datagram larger than all memory", func(t *testing.T) {
		d := New(Options{FragmentBytes: 500})
		feed(d, first(1))
		if d.PendingDatagrams() != 0 || d.frags.memory != 0 || d.Stats.DatagramsEvicted != 1 {
			t.Errorf("%d pending, %d bytes, %+v", d.PendingDatagrams(), d.frags.memory, d.Stats)
		}
	})
	t.Run("pieces", func(t *testing.T) {
		d := New(Options{})
		for i := range maxPieces + 1 {
			feed(d, ip4frag(protoTCP, mf|i*2, zeros[:8]))
		}
		if d.PendingDatagrams() != 0 || d.frags.memory != 0 || d.Stats.DatagramsEvicted != 1 || d.Stats.FragmentsHeld != maxPieces {
			t.Errorf("%d pending, %d bytes, %+v", d.PendingDatagrams(), d.frags.memory, d.Stats)
		}
	})
	t.Run("time", func(t *testing.T) {
		d := New(Options{FragmentLifetime: 10 * time.Second})
		var seg flow.Segment
		parts := split4(1, ip4(protoTCP, tcp(pattern(2000))), 1000)
		for _, step := range []struct {
			at      time.Duration
			frame   []byte
			want    Result
			expired uint64
		}{
			{0, parts[0], Fragment, 0},
			{10 * time.Second, parts[1], Segment, 0},
			{20 * time.Second, parts[0], Fragment, 0},
			{31 * time.Second, parts[1], Fragment, 1},
			{5 * time.Second, parts[0], Segment, 1}, // the clock jumped back
		} {
			if r := d.Decode(LinkRaw, step.frame, len(step.frame), int64(step.at), &seg); r != step.want || d.Stats.DatagramsExpired != step.expired {
				t.Errorf("at %v: %v, %+v", step.at, r, d.Stats)
			}
		}
	})
}

// FuzzFragments cuts a segment into fragments and sends them in any order, some twice, some overlapping, among those of other datagrams: the payload comes
// out once, as it was, and memory stays within its bound.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0}, uint16(100), false)
	f.Add([]byte{1, 5, 9, 200, 3, 3, 3}, uint16(3000), true)
	f.Add([]byte{255, 254, 1, 0, 7, 77, 128, 31, 8}, uint16(60000), false)
	f.Fuzz(func(t *testing.T, script []byte, size uint16, v6 bool) {
		size = min(size, 65000)
		body := tcp(pattern(int(size)))
		o := Options{FragmentBytes: 256 << 10, FragmentDatagrams: 8, FragmentLifetime: time.Hour}
		d := New(o)

		fragment := func(id, from, to int, b []byte) []byte {
			if v6 {
				more := 0
				if to < len(b) {
					more = 1
				}
				return ip6(protoFragment, frag6(protoTCP, from|more, uint32(id), b[from:to]))
			}
			more := 0
			if to < len(b) {
				more = mf
			}
			return patch(ip4frag(protoTCP, from/8|more, b[from:to]), 4, u16(id)...)
		}

		// Cut into up to 64 parts, then let the script say which is sent next; whatever is left follows in order.
		step := max(8, (len(body)/64+7)&^7)
		var parts [][2]int
		for at := 0; at < len(body); at += step {
			parts = append(parts, [2]int{at, min(at+step, len(body))})
		}
		if len(parts) < 2 {
			return // a whole packet, not a fragment
		}
		missing := len(parts)
		sent := make([]bool, len(parts))
		var done int
		send := func(first, n int) {
			last := min(first+n, len(parts)-1)
			if done > 0 {
				return
			}
			frame := fragment(1, parts[first][0], parts[last][1], body)
			if first == 0 && last == len(parts)-1 {
				return // the whole packet again
			}
			for i := first; i <= last; i++ {
				if !sent[i] {
					sent[i] = true
					missing--
				}
			}
			var seg flow.Segment
			switch r := d.Decode(LinkRaw, frame, len(frame), 0, &seg); {
			case r == Segment:
				done++
				if missing != 0 {
					t.Fatalf("complete with %d parts missing", missing)
				}
				if seg.Length != int(size) || string(seg.Payload) != string(body[tcpMinLen:]) {
					t.Fatalf("%d bytes of %d; another payload", len(seg.Payload), seg.Length)
				}
			case r != Fragment:
				t.Fatalf("result %v", r)
			case missing == 0:
				t.Fatalf("not complete with all parts sent: %+v", d.Stats)
			}
		}
		for i, c := range script {
			send(int(c)%len(parts), i%3)
			if c&0x40 != 0 && i < 7 { // of another datagram, never completed
				var seg flow.Segment
				other := fragment(2+i, 0, 8, body)
				if r := d.Decode(LinkRaw, other, len(other), 0, &seg); r != Fragment {
					t.Fatalf("other datagram: %v", r)
				}
			}
			if d.frags.memory > o.FragmentBytes || d.PendingDatagrams() > o.FragmentDatagrams {
				t.Fatalf("%d bytes in %d datagrams", d.frags.memory, d.PendingDatagrams())
			}
		}
		for i := range parts {
			if !sent[i] {
				send(i, 0)
			}
		}
		if done != 1 || d.Stats.DatagramsReassembled != 1 || d.Stats.FragmentsConflicting != 0 {
			t.Fatalf("came out %d times: %+v", done, d.Stats)
		}
	})
}

// FuzzFragmentsHostile feeds fragments that agree about nothing. Memory stays within its bound and adds up to nothing in the end.
func FuzzFragmentsHostile(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789"))
	f.Add(bytes.Repeat([]byte{0, 1, 0x20, 0, 30, 9}, 40))
	f.Fuzz(func(t *testing.T, script []byte) {
		o := Options{FragmentBytes: 4 << 10, FragmentDatagrams: 4, FragmentLifetime: time.Second}
		d := New(o)
		for i := 0; i+6 <= len(script); i += 6 {
			s := script[i : i+6]
			n := int(s[4]) * 4
			frame := patch(ip4frag(protoTCP, be16(s[2:4])&0x3fff, bytes.Repeat(s[5:6], n)), 4, 0, s[0]&7)
			captured := len(frame) - int(s[1])%(len(frame)-ipv4MinLen+1)
			var seg flow.Segment
			d.Decode(LinkRaw, frame[:captured], len(frame), int64(i)*int64(s[1])*1e6, &seg)
			sum := 0
			for _, g := range d.frags.byKey {
				sum += g.memory()
				if err := checkDatagram(g); err != nil {
					t.Fatal(err)
				}
			}
			if sum != d.frags.memory || sum > o.FragmentBytes || len(d.frags.byKey) > o.FragmentDatagrams {
				t.Fatalf("%d bytes counted, %d there, %d datagrams", d.frags.memory, sum, len(d.frags.byKey))
			}
		}
		d.expire(1 << 62)
		if d.frags.memory != 0 || d.frags.oldest != nil || d.frags.newest != nil || d.PendingDatagrams() != 0 {
			t.Fatalf("left behind: %+v", d.frags)
		}
	})
}

// checkDatagram checks what insert promises about the pieces.
func checkDatagram(g *datagram) error {
	at, have, captured := 0, 0, 0
	for _, p := range g.pieces {
		if p.off < at || p.end <= p.off || p.n > p.end-p.off || p.start+p.n > len(g.data) {
			return fmt.Errorf("piece %+v behind %d", p, at)
		}
		at, have, captured = p.end, have+p.end-p.off, captured+p.n
	}
	if have != g.have || captured != len(g.data) || g.total >= 0 && (at > g.total || have == g.total) || len(g.pieces) > maxPieces {
		return fmt.Errorf("pieces %+v: covered %d of %d, counted %d; %d bytes captured, %d kept", g.pieces, have, g.total, g.have, captured, len(g.data))
	}
	return nil
}
