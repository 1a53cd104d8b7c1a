package analyze

import (
	"bytes"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Limits of reassembly, per direction of a flow.
const (
	// maxPending and maxPendingChunks bound the bytes and segments held behind a hole; more than that, and the hole is given up.
	maxPending       = 256 << 10
	maxPendingChunks = 256
	// chunkCost is what a held segment costs beyond its bytes.
	chunkCost = 96
	// maxAhead is how far ahead of what was delivered, or acknowledged, a segment may lie: no window is larger in practice. One that lies
	// beyond is none of the stream's, unless strayRun of them follow each other.
	maxAhead = 16 << 20
	strayRun = 4
	// ackedHoleChunks and ackedHoleAge: a hole that the receiver has acknowledged will not be sent again, but captures do reorder,
	// so it is given up only when so many segments, or so many nanoseconds, have come after it.
	ackedHoleChunks = 32
	ackedHoleAge    = int64(1e9)
	// maxKept is how many delivered bytes are kept to compare retransmissions with.
	maxKept = 32 << 10
)

// chunk is payload that waits behind a hole. Its data is a copy.
type chunk struct {
	seq  uint32
	data []byte
	// after is the number of bytes directly behind data that the capture cut off (snap length).
	after int
	at    int64 // when it came, ns
	// doubt: it may be padding, see maybePadding. Such a chunk overlaps no other.
	doubt bool
}

func (c *chunk) end() uint32 { return c.seq + uint32(len(c.data)) }

// stream puts one direction of a flow in order. The first copy of a byte wins; a later, different one is counted.
//
// It delivers to a consumer through the conn, in order, each byte once, with gaps told as such. Sequence numbers wrap; all
// comparisons are by signed distance from next.
type stream struct {
	next    uint32 // sequence number of the next byte to deliver; valid if synced
	synced  bool
	fromSyn bool  // next was fixed by a SYN of this side, or by the acknowledgement in the other side's
	offset  int64 // bytes delivered or skipped so far
	base    uint32
	seen    bool // a packet of this side was captured

	pending      []chunk // by rising seq, not overlapping
	pendingBytes int
	counted      int // what the analyzer has counted for pending

	// stray is where the last segments that lay too far ahead ended, strays how many of them followed each other.
	stray  uint32
	strays int

	kept []byte // delivered bytes that end at keptEnd; nil once no longer wanted
	// keptEnd is the stream offset behind the last kept byte; a gap starts kept anew.
	keptEnd int64

	acked     uint32 // highest acknowledgement by the other side
	ackedSeen bool

	finSeq  uint32 // the number of the FIN, or of the RST
	finSeen bool
	rstSeen bool

	gapBytes, conflictBytes int64
	truncated               int
	unwanted                bool // nothing more of this side can matter: only its end is watched
}

// sync fixes the sequence number of the first byte.
func (s *stream) sync(next uint32, fromSyn bool) {
	s.next, s.base, s.synced, s.fromSyn = next, next, true, fromSyn
}

// distance is how far seq lies ahead of the next expected byte; negative for what was delivered already.
func (s *stream) distance(seq uint32) int { return int(int32(seq - s.next)) }

// compare counts bytes of data, which starts dist (negative) before next, that differ from what was delivered.
func (s *stream) compare(dist int, data []byte) {
	// What lies before kept, and behind it, is not compared.
	from := len(s.kept) + dist + int(s.offset-s.keptEnd)
	data = data[:min(len(data), -dist)]
	if from < 0 {
		data, from = data[min(-from, len(data)):], 0
	}
	if from < len(s.kept) {
		s.conflictBytes += countDiff(data, s.kept[from:])
	}
}

func countDiff(a, b []byte) int64 {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return 0
	}
	var d int64
	for i := range n {
		if a[i] != b[i] {
			d++
		}
	}
	return d
}

// keep remembers delivered bytes for compare.
func (s *stream) keep(data []byte) {
	if s.keptEnd != s.offset {
		s.kept = s.kept[:0]
	}
	if len(s.kept)+len(data) > maxKept {
		if len(data) >= maxKept {
			s.kept = append(s.kept[:0], data[len(data)-maxKept/2:]...)
		} else {
			drop := min(len(s.kept), len(s.kept)+len(data)-maxKept/2)
			s.kept = append(s.kept[:copy(s.kept, s.kept[drop:])], data...)
		}
	} else {
		s.kept = append(s.kept, data...)
	}
	s.keptEnd = s.offset + int64(len(data))
}

// hold stores data that lies ahead, as far as no earlier copy of it is held.
func (s *stream) hold(seq uint32, data []byte, after int, now int64, doubt bool) {
	// Find the first chunk that ends behind seq.
	i := len(s.pending)
	for i > 0 && int32(s.pending[i-1].end()-seq) > 0 {
		i--
	}
	for len(data) > 0 {
		if i < len(s.pending) && int32(s.pending[i].seq-seq) <= 0 { // overlaps from the left: what is held wins
			p := &s.pending[i]
			skip := int(int32(p.end() - seq))
			if skip > 0 {
				s.conflictBytes += countDiff(data, p.data[int(int32(seq-p.seq)):])
				if skip >= len(data) {
					return
				}
				data, seq = data[skip:], seq+uint32(skip)
			}
			i++
			continue
		}
		n, tail := len(data), after
		if i < len(s.pending) {
			if room := int(int32(s.pending[i].seq - seq)); room < n {
				n, tail = room, 0
			}
		}
		s.pending = append(s.pending, chunk{})
		copy(s.pending[i+1:], s.pending[i:])
		s.pending[i] = chunk{seq: seq, data: bytes.Clone(data[:n]), after: tail, at: now, doubt: doubt}
		s.pendingBytes += n
		data, seq = data[n:], seq+uint32(n)
		i++
	}
}

// doubtful holds bytes that may be padding, unless something else is known of their place.
func (s *stream) doubtful(seq uint32, data []byte, now int64) {
	end := seq + uint32(len(data))
	for i := range s.pending {
		if p := &s.pending[i]; int32(p.seq-end) < 0 && int32(p.end()-seq) > 0 {
			return
		}
	}
	s.hold(seq, data, 0, now, true)
}

// dropDoubts drops what may be padding and overlaps n bytes at seq, which now have come: padding it was, or they repeat it.
func (s *stream) dropDoubts(seq uint32, n int) {
	end := seq + uint32(n)
	for i := 0; i < len(s.pending); {
		p := &s.pending[i]
		if p.doubt && int32(p.seq-end) < 0 && int32(p.end()-seq) > 0 {
			s.pendingBytes -= len(p.data)
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			continue
		}
		i++
	}
}

// vouched reports whether the first pending chunk, which may be padding, was certainly sent: the next segment, or the FIN, follows right
// behind it. Padding is followed by bytes in its own place. With final, when nothing more will come, the other side's acknowledgement
// of just so much, and perhaps of a FIN, does as well.
func (s *stream) vouched(final bool) bool {
	end := s.pending[0].end()
	if len(s.pending) > 1 {
		return s.pending[1].seq == end
	}
	return s.finSeen && s.finSeq == end || final && s.ackedSeen && s.acked-end <= 1
}

// holeGivenUp reports whether the hole before the next pending chunk will not be filled any more.
func (s *stream) holeGivenUp(now int64) bool {
	first := 0
	if first < len(s.pending) && s.pending[first].doubt && s.distance(s.pending[first].seq) <= 0 {
		first++ // the hole lies behind it
	}
	if first == len(s.pending) {
		return false
	}
	if s.pendingBytes > maxPending || len(s.pending) > maxPendingChunks {
		return true
	}
	p := &s.pending[first]
	return s.ackedSeen && int32(s.acked-p.seq) >= 0 && (len(s.pending) >= ackedHoleChunks || now-p.at > ackedHoleAge)
}

// take removes the first pending chunk.
func (s *stream) take() chunk {
	c := s.pending[0]
	s.pending[0] = chunk{}
	if s.pending = s.pending[1:]; len(s.pending) == 0 {
		s.pending = nil
	}
	s.pendingBytes -= len(c.data)
	return c
}

// missing is how many bytes at the end of the stream were not captured: its FIN or RST, or what the other side has acknowledged,
// lies so far ahead.
func (s *stream) missing() int {
	if !s.synced {
		return 0
	}
	n := 0
	if s.finSeen || s.rstSeen {
		n = s.distance(s.finSeq)
	}
	if s.ackedSeen {
		acked := s.distance(s.acked)
		if s.finSeen && s.acked == s.finSeq+1 || !s.finSeen && acked == 1 {
			acked-- // a FIN takes a number; that of the second case was perhaps not captured
		}
		n = max(n, acked)
	}
	if n < 0 || n > maxAhead {
		return 0
	}
	return n
}

// release frees what reassembly holds, but for kept; see putKept.
func (s *stream) release() { s.pending, s.pendingBytes = nil, 0 }

// Bounds of the buffers for kept that wait for another flow.
const (
	maxSpare     = 256
	maxSpareSize = 8 << 10
)

// takeKept gives a buffer for kept.
func (a *Analyzer) takeKept() []byte {
	if n := len(a.spare); n > 0 {
		b := a.spare[n-1]
		a.spare = a.spare[:n-1]
		return b
	}
	return make([]byte, 0, 2<<10)
}

// putKept takes kept away from a stream that needs it no longer.
func (a *Analyzer) putKept(s *stream) {
	if s.kept != nil && cap(s.kept) <= maxSpareSize && len(a.spare) < maxSpare {
		a.spare = append(a.spare, s.kept[:0])
	}
	s.kept = nil
}

// keepAlive reports whether a segment is a TCP keep-alive probe: one garbage byte, or none, just before what is expected
// (RFC 9293, Section 3.8.4).
func (s *stream) keepAlive(seg *flow.Segment) bool {
	return seg.Length <= 1 && s.synced && s.distance(seg.Seq) == -1 && !seg.Flags.Has(flow.FIN)
}
