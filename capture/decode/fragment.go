package decode

import (
	"bytes"
	"slices"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	// maxDatagram is the end of the largest payload that fragments can make up: offsets have 13 bits in units of 8, lengths 16 bits.
	maxDatagram = 65535
	// maxPieces bounds the pieces of one datagram, and with it the time to find a place among them. The smallest IPv4 MTU of real links, 576,
	// cuts the largest datagram into 119.
	maxPieces = 512
	// datagramCost and pieceCost are the memory of a datagram beside its data: the struct with its map entry, and each piece.
	datagramCost, pieceCost = 256, 32
)

// fragmentKey says which fragments belong together (RFC 791, Section 3.2; RFC 8200, Section 4.5).
type fragmentKey struct {
	src, dst flow.IP
	id       uint32
	proto    uint8 // IPv4 only
	v6       bool
}

// piece is a run of a datagram's payload. Of its bytes off to end, the first n were captured and lie at start in the datagram's data.
type piece struct {
	off, end, start, n int
}

// datagram collects fragments.
type datagram struct {
	key          fragmentKey
	first        int64 // time of the first fragment seen
	older, newer *datagram

	// total is the payload's length, or -1 before the last fragment came.
	total int
	// have is how many bytes of it the pieces cover.
	have int
	// next is the protocol of the payload, from the fragment at offset 0.
	next uint8
	// pieces are sorted by offset and do not overlap.
	pieces []piece
	// data holds the captured bytes in order of arrival: memory follows the bytes received, not the offsets claimed.
	data []byte
}

// memory is what the datagram costs.
func (g *datagram) memory() int {
	return datagramCost + cap(g.pieces)*pieceCost + cap(g.data)
}

// reassembler holds the incomplete datagrams, in the order in which they began.
type reassembler struct {
	limit          Options
	byKey          map[fragmentKey]*datagram
	oldest, newest *datagram
	memory         int
	// whole is the buffer that completed datagrams are put together in, each overwriting the one before.
	whole []byte
}

func newReassembler(o Options) reassembler {
	return reassembler{limit: o, byKey: make(map[fragmentKey]*datagram)}
}

// fragment takes a fragment whose payload is p, at offset; more fragments follow if more; next is its header's protocol. A result of 0 says that the
// datagram is complete: go on with the payload and the protocol returned.
//
// Where fragments overlap, the bytes that came first stay, as most hosts once did; today's drop such datagrams. Both are counted apart.
// A fragment that the snap length cut still counts as received; the payload's captured part then ends there.
func (d *Decoder) fragment(key fragmentKey, offset int, more bool, next uint8, p rest, ts int64) (rest, uint8, Result) {
	f := &d.frags
	end := offset + p.wire
	if more && !key.v6 {
		end &^= 7 // hosts round down; offsets count in 8 bytes
	}
	if end <= offset || end > maxDatagram || more && end&7 != 0 {
		return p, 0, Malformed
	}
	d.expire(ts)

	g := f.byKey[key]
	if g == nil {
		g = &datagram{key: key, first: ts, total: -1}
		f.add(g)
	}
	before := g.memory()
	what := g.insert(offset, end, more, next, p.b[:min(len(p.b), end-offset)])
	f.memory += g.memory() - before
	switch what {
	case added:
		d.Stats.FragmentsHeld++
	case duplicate:
		d.Stats.FragmentsDuplicate++
	case addedConflicting:
		d.Stats.FragmentsHeld++
		d.Stats.FragmentsConflicting++
	case conflicting:
		d.Stats.FragmentsConflicting++
	case tooMany:
		f.remove(g)
		d.Stats.DatagramsEvicted++
		return p, 0, Fragment
	}
	if g.total >= 0 && g.have == g.total {
		next = g.next
		p.b, p.wire = f.assemble(g), g.total
		f.remove(g)
		d.Stats.DatagramsReassembled++
		return p, next, 0
	}
	for f.memory > f.limit.FragmentBytes || len(f.byKey) > f.limit.FragmentDatagrams {
		f.remove(f.oldest)
		d.Stats.DatagramsEvicted++
	}
	return p, 0, Fragment
}

// expire gives up the datagrams that waited too long. Where the clock of a capture jumps back, they live longer; their number is bounded anyway.
func (d *Decoder) expire(ts int64) {
	f := &d.frags
	for f.oldest != nil && ts-f.oldest.first > int64(f.limit.FragmentLifetime) {
		f.remove(f.oldest)
		d.Stats.DatagramsExpired++
	}
}

func (f *reassembler) add(g *datagram) {
	f.byKey[g.key] = g
	f.memory += g.memory()
	g.older = f.newest
	if f.newest != nil {
		f.newest.newer = g
	} else {
		f.oldest = g
	}
	f.newest = g
}

func (f *reassembler) remove(g *datagram) {
	delete(f.byKey, g.key)
	f.memory -= g.memory()
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		f.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		f.newest = g.older
	}
}

// assemble copies the captured bytes of a complete datagram together, as far as they are without a hole.
func (f *reassembler) assemble(g *datagram) []byte {
	f.whole = f.whole[:0]
	for _, p := range g.pieces {
		f.whole = append(f.whole, g.data[p.start:p.start+p.n]...)
		if p.n < p.end-p.off {
			break
		}
	}
	return f.whole
}

// inserted says what a fragment brought.
type inserted uint8

const (
	added            inserted = iota // bytes that were missing
	duplicate                        // nothing new
	conflicting                      // nothing new, and it disagrees with what is there
	addedConflicting                 // bytes that were missing, and it disagrees with what is there
	tooMany                          // more pieces than are kept
)

// insert adds the bytes off to end, of which the first len(b) were captured, wherever no piece covers them yet.
func (g *datagram) insert(off, end int, more bool, next uint8, b []byte) inserted {
	if !more && g.total >= 0 && g.total != end || g.total >= 0 && end > g.total {
		return conflicting
	}
	if !more && len(g.pieces) > 0 && g.pieces[len(g.pieces)-1].end > end {
		return conflicting
	}
	if off == 0 && (len(g.pieces) == 0 || g.pieces[0].off != 0) {
		g.next = next
	}
	if !more {
		g.total = end
	}

	// All pieces from i on end behind off, so i is where the first missing byte may belong.
	i, _ := slices.BinarySearchFunc(g.pieces, off, func(p piece, off int) int {
		if p.end <= off {
			return -1
		}
		return 1
	})
	var news, differs bool
	for at := off; at < end; i++ {
		stop := end // of the hole that begins at at
		if i < len(g.pieces) {
			stop = min(end, g.pieces[i].off)
		}
		if at < stop {
			if len(g.pieces) == maxPieces {
				return tooMany
			}
			captured := b[min(at-off, len(b)):min(stop-off, len(b))]
			g.pieces = slices.Insert(g.pieces, i, piece{off: at, end: stop, start: len(g.data), n: len(captured)})
			g.data = append(g.data, captured...)
			g.have += stop - at
			news = true
			at = stop
			continue
		}
		there := g.pieces[i]
		stop = min(end, there.end)
		differs = differs || g.differs(there, at, stop, off, b)
		at = stop
	}
	switch {
	case news && differs:
		return addedConflicting
	case news:
		return added
	case differs:
		return conflicting
	}
	return duplicate
}

// differs reports whether the bytes at to stop, where both are captured, are not the same in the piece and in b, which begins at off.
func (g *datagram) differs(p piece, at, stop, off int, b []byte) bool {
	stop = min(stop, p.off+p.n, off+len(b))
	if stop <= at {
		return false
	}
	return !bytes.Equal(g.data[p.start+at-p.off:p.start+stop-p.off], b[at-off:stop-off])
}
