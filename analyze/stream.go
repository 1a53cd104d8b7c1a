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
}

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
	packets int64

	pending      []chunk // by rising seq, not overlapping
	pendingBytes int
	pendingSince int64 // when the first of them came, ns

	// doubt are bytes at next that may be a bare acknowledgement's padding; see maybePadding.
	doubt []byte

	kept []byte // delivered bytes that end at keptEnd; nil once no longer wanted
	// keptEnd is the stream offset behind the last kept byte; a gap starts kept anew.
	keptEnd int64

	acked     uint32 // highest acknowledgement by the other side
	ackedSeen bool

	finSeq  uint32
	finSeen bool

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
	if len(s.kept) == 0 || s.keptEnd != s.offset {
		return
	}
	n := min(len(data), -dist)
	from := len(s.kept) + dist
	if from < 0 {
		if -from >= n {
			return
		}
		data, n, from = data[-from:], n+from, 0
	}
	s.conflictBytes += countDiff(data[:n], s.kept[from:])
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

// hold stores data that lies dist > 0 bytes ahead, as far as no earlier copy of it is held.
func (s *stream) hold(seq uint32, data []byte, after int, now int64) (held int) {
	if len(s.pending) == 0 {
		s.pendingSince = now
	}
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
					return held
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
		s.pending[i] = chunk{seq: seq, data: bytes.Clone(data[:n]), after: tail}
		s.pendingBytes += n
		held += n
		data, seq = data[n:], seq+uint32(n)
		i++
	}
	return held
}

func (c *chunk) end() uint32 { return c.seq + uint32(len(c.data)) }

// holeGivenUp reports whether the hole before the first pending chunk will not be filled any more.
func (s *stream) holeGivenUp(now int64) bool {
	if len(s.pending) == 0 {
		return false
	}
	if s.pendingBytes > maxPending || len(s.pending) > maxPendingChunks {
		return true
	}
	first := s.pending[0].seq
	return s.ackedSeen && int32(s.acked-first) >= 0 &&
		(len(s.pending) >= ackedHoleChunks || now-s.pendingSince > ackedHoleAge)
}

// take removes the first pending chunk.
func (s *stream) take() chunk {
	c := s.pending[0]
	s.pending[0] = chunk{}
	s.pending = s.pending[1:]
	s.pendingBytes -= len(c.data)
	return c
}

// release frees what reassembly holds.
func (s *stream) release() (freed int) {
	freed = s.pendingBytes
	s.pending, s.pendingBytes, s.kept = nil, 0, nil
	return freed
}

// keepAlive reports whether a segment is a TCP keep-alive probe: one garbage byte, or none, just before what is expected
// (RFC 9293, Section 3.8.4).
func (s *stream) keepAlive(seg *flow.Segment) bool {
	return seg.Length <= 1 && s.synced && s.distance(seg.Seq) == -1 && !seg.Flags.Has(flow.FIN)
}
