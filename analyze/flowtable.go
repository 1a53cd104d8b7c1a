package analyze

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// flowKey is a five-tuple without direction: the lower end stands first. The protocol is always TCP here.
type flowKey struct {
	a, b   flow.IP
	pa, pb uint16
	// tag tells sockets apart that have the same five-tuple, as on the loopbacks of two network namespaces: 16 bits of the kernel's socket
	// cookie, 0 where there is none.
	tag uint16
}

// set makes k the key of a packet's five-tuple, and returns the packet's direction in it: 0 when the packet's source is end a.
//
// There is no branch on which end is the lower one: nobody can predict it, and a wrong guess would wait for the segment to come from memory.
func (k *flowKey) set(t *flow.FiveTuple, cookie uint64) (dir uint8) {
	s1, s2 := binary.BigEndian.Uint64(t.SrcIP[:8]), binary.BigEndian.Uint64(t.SrcIP[8:])
	d1, d2 := binary.BigEndian.Uint64(t.DstIP[:8]), binary.BigEndian.Uint64(t.DstIP[8:])
	_, swap := bits.Sub64(uint64(t.DstPort), uint64(t.SrcPort), 0)
	_, swap = bits.Sub64(d2, s2, swap)
	_, swap = bits.Sub64(d1, s1, swap)
	x1, x2, xp := (s1^d1)&-swap, (s2^d2)&-swap, (t.SrcPort^t.DstPort)&-uint16(swap)
	binary.BigEndian.PutUint64(k.a[:8], s1^x1)
	binary.BigEndian.PutUint64(k.a[8:], s2^x2)
	binary.BigEndian.PutUint64(k.b[:8], d1^x1)
	binary.BigEndian.PutUint64(k.b[8:], d2^x2)
	k.pa, k.pb = t.SrcPort^xp, t.DstPort^xp
	k.tag = uint16(cookie ^ cookie>>16 ^ cookie>>32 ^ cookie>>48)
	return uint8(swap)
}

// equal is k == l without a call.
func (k *flowKey) equal(l *flowKey) bool {
	return (binary.LittleEndian.Uint64(k.a[:8])^binary.LittleEndian.Uint64(l.a[:8]))|
		(binary.LittleEndian.Uint64(k.a[8:])^binary.LittleEndian.Uint64(l.a[8:]))|
		(binary.LittleEndian.Uint64(k.b[:8])^binary.LittleEndian.Uint64(l.b[:8]))|
		(binary.LittleEndian.Uint64(k.b[8:])^binary.LittleEndian.Uint64(l.b[8:]))|
		uint64((k.pa^l.pa)|(k.pb^l.pb)|(k.tag^l.tag)) == 0
}

// slotState says what is known of a flow.
type slotState uint8

const (
	slotEmpty    slotState = iota
	slotOpening            // SYN seen, no payload: all that is known is in the slot itself
	slotClosed             // slotOpening, and a FIN or RST was seen
	slotActive             // a conn reads it
	slotFinished           // judged: its packets cost one look-up
	slotForeign            // found to be none of ours: the same
	slotEnded              // slotFinished or slotForeign, and a FIN or RST was seen
)

// Flag bits of a slot, each for end a, and one bit higher for end b.
const (
	sawSynA   uint8 = 1 << iota // the sequence number of its SYN is known, from the SYN itself or from its acknowledgement
	_                           // b
	openedByA                   // it opened the flow
	_                           // b
	sentA                       // a packet of it was captured
	_                           // b
	ackedSynA                   // the other end has acknowledged its SYN by the number that is known
	_                           // b

	openedByB = openedByA << 1
)

// slot is one flow in 64 bytes, one cache line and no pointer: a capture of 200,000 flows that are none of ours costs a few MiB
// that the collector never scans.
type slot struct {
	key   flowKey // 38 bytes
	state slotState
	flags uint8
	start int64 // first packet, ns
	// isnA and isnB are the sequence numbers of the SYNs, where flags say that they are known.
	isnA, isnB uint32
	conn       int32  // index of the conn, if state is slotActive
	last       uint32 // time of the last packet, in seconds since the Unix epoch
}

// flowTable maps flows to slots by extendible hashing: a directory, addressed by the highest bits of a hash, leads to parts of fixed size, and
// a part that is too full is split in two. So the table grows with the flows, part by part, and never stops to move all of them. In a
// part, addressed by the lowest bits, slots are found by linear probing; deletion shifts them back. The hash is seeded at random, so
// that nobody can choose addresses that collide; nothing that is put out depends on the order of slots.
//
// A pointer to a slot is valid until the next insert, remove or sweep.
type flowTable struct {
	dir   []*part // 1<<depth entries
	depth uint8
	used  int // slots
	size  int // all slots
	seed  seed
	// The next step of sweep looks at this slot of the part that this entry leads to.
	hand, handSlot int
	spare          *partSlots // for split
}

// part is a part of a flowTable. It stands in dir in all entries that agree with it in the highest depth bits, side by side.
type part struct {
	slots *partSlots
	used  int
	depth uint8
}

// partLen is how many slots a part has: 64 KiB, a share of any second-level cache that allows to go through it.
const (
	partLen  = 1 << 10
	partMask = partLen - 1
)

type partSlots [partLen]slot

// newSlots gives empty slots, each page of which has been written to: the kernel maps a page that is read first another time when it is written,
// and interrupts the other processors for that.
func newSlots() *partSlots {
	const perPage = 4096 / 64
	slots := new(partSlots)
	for i := 0; i < partLen; i += perPage {
		slots[i].conn = -1
	}
	return slots
}

// maxUsed is how many slots of a part are used at most. With linear probing a miss looks at 8 slots on average at three quarters, and would
// look at 32 at seven eighths.
const maxUsed = partLen / 4 * 3

// sweepStep is how many slots are looked at for each new flow, in search of idle ones: the table holds up to 1/sweepStep more flows than it needs
// to. They are looked at for sweepEvery new flows together, because neighbours come from memory sooner.
const (
	sweepStep  = 8
	sweepEvery = 64
)

// seed makes hashes that nobody can foresee.
type seed [2]uint64

func newSeed() seed { return seed{rand.Uint64() | 1, rand.Uint64() | 1} }

// hash mixes the 38 bytes of a key with the seed by 64x64 to 128 bit multiplications.
func (s *seed) hash(k *flowKey) uint32 {
	a1, a2 := binary.LittleEndian.Uint64(k.a[:8]), binary.LittleEndian.Uint64(k.a[8:])
	b1, b2 := binary.LittleEndian.Uint64(k.b[:8]), binary.LittleEndian.Uint64(k.b[8:])
	ports := uint64(k.tag)<<32 | uint64(k.pa)<<16 | uint64(k.pb)
	h1, l1 := bits.Mul64(a2^s[0], b2^s[1]^ports<<13)
	h2, l2 := bits.Mul64(a1^s[1]^ports, b1^bits.RotateLeft64(s[0], 32))
	h, l := bits.Mul64(h1^l1^s[0], h2^l2^ports^s[1])
	return uint32(h ^ l ^ h>>32)
}

func newFlowTable(s seed) *flowTable {
	return &flowTable{dir: []*part{{slots: newSlots()}}, size: partLen, seed: s}
}

// index gives the entry of a hash.
func (t *flowTable) index(hash uint32) int { return int(uint64(hash) << (t.depth & 63) >> 32) }

func (t *flowTable) part(hash uint32) *part { return t.dir[t.index(hash)] }

// home is the slot where the search for a hash begins.
func (t *flowTable) home(hash uint32) *slot { return &t.part(hash).slots[hash&partMask] }

// entries gives the entries that lead to the same part as entry i: the first, and how many.
func (t *flowTable) entries(i int) (first, n int) {
	n = 1 << (t.depth - t.dir[i].depth)
	return i &^ (n - 1), n
}

// find returns the slot of k, or nil.
func (t *flowTable) find(k *flowKey) *slot { return t.findAt(t.seed.hash(k), k) }

// findAt is find for a key whose hash is known.
func (t *flowTable) findAt(hash uint32, k *flowKey) *slot {
	slots := t.part(hash).slots
	for i := hash & partMask; ; i = (i + 1) & partMask {
		s := &slots[i]
		if s.state == slotEmpty {
			return nil
		}
		if s.key.equal(k) {
			return s
		}
	}
}

// insert adds k, which must not be there, and returns its slot, zero but for key and state.
func (t *flowTable) insert(k *flowKey) *slot {
	hash := t.seed.hash(k)
	p := t.part(hash)
	for p.used >= maxUsed {
		t.split(hash)
		p = t.part(hash)
	}
	t.used++
	s := p.place(hash)
	*s = slot{key: *k, state: slotOpening, conn: -1}
	return s
}

// place takes an empty slot for a hash.
func (p *part) place(hash uint32) *slot {
	p.used++
	i := hash & partMask
	for p.slots[i].state != slotEmpty {
		i = (i + 1) & partMask
	}
	return &p.slots[i]
}

// split makes two parts of the one of a hash.
func (t *flowTable) split(hash uint32) {
	old := t.part(hash)
	if old.depth == t.depth {
		t.double()
	}
	if t.spare == nil {
		t.spare = newSlots()
	}
	low, high := &part{slots: t.spare, depth: old.depth + 1}, &part{slots: newSlots(), depth: old.depth + 1}
	t.size += partLen
	first, n := t.entries(t.index(hash))
	for i := range n / 2 {
		t.dir[first+i], t.dir[first+n/2+i] = low, high
	}
	for i := range old.slots {
		if s := &old.slots[i]; s.state != slotEmpty {
			hash := t.seed.hash(&s.key)
			*t.part(hash).place(hash) = *s
		}
	}
	*old.slots = partSlots{}
	t.spare = old.slots
}

// double makes room in the directory for parts that one bit more tells apart.
func (t *flowTable) double() {
	dir := make([]*part, 0, 2*len(t.dir))
	for _, p := range t.dir {
		dir = append(dir, p, p)
	}
	t.dir, t.hand = dir, 2*t.hand
	t.depth++
}

// remove deletes a slot that find, insert or sweep returned. Other slots may move.
func (t *flowTable) remove(k *flowKey) {
	hash := t.seed.hash(k)
	p := t.part(hash)
	slots := p.slots
	i := hash & partMask
	for slots[i].key != *k || slots[i].state == slotEmpty {
		if slots[i].state == slotEmpty {
			return
		}
		i = (i + 1) & partMask
	}
	p.used--
	t.used--
	// Backward shift: pull every later slot of the same run that may stand at the hole.
	for j := i; ; {
		j = (j + 1) & partMask
		if slots[j].state == slotEmpty {
			break
		}
		home := t.seed.hash(&slots[j].key) & partMask
		if (j-home)&partMask >= (j-i)&partMask {
			slots[i] = slots[j]
			i = j
		}
	}
	slots[i] = slot{}
}

// sweep moves the table's hand over n slots and calls drop for each that is in use; drop returns true to have it removed.
func (t *flowTable) sweep(n int, drop func(*slot) bool) {
	for range n {
		s := t.atHand()
		if s.state != slotEmpty && drop(s) {
			key := s.key
			t.remove(&key)
			continue // another slot may have moved here
		}
		t.moveHand()
	}
}

func (t *flowTable) atHand() *slot { return &t.dir[t.hand].slots[t.handSlot] }

func (t *flowTable) moveHand() {
	if t.handSlot++; t.handSlot < partLen {
		return
	}
	t.handSlot = 0
	if t.hand = t.after(t.hand); t.hand == len(t.dir) {
		t.hand = 0
	}
}

// after is the first entry that leads to the part behind that of entry i.
func (t *flowTable) after(i int) int {
	first, n := t.entries(i)
	return first + n
}

// all yields the slots that are in use.
func (t *flowTable) all(yield func(*slot) bool) {
	for i := 0; i < len(t.dir); i = t.after(i) {
		slots := t.dir[i].slots
		for j := range slots {
			if slots[j].state != slotEmpty && !yield(&slots[j]) {
				return
			}
		}
	}
}

// The following read and write a slot by direction: 0 is from end a.

func (s *slot) isn(dir uint8) uint32 {
	if dir == 0 {
		return s.isnA
	}
	return s.isnB
}

func (s *slot) sawSyn(dir uint8) bool   { return s.flags&(sawSynA<<dir) != 0 }
func (s *slot) sent(dir uint8) bool     { return s.flags&(sentA<<dir) != 0 }
func (s *slot) ackedSyn(dir uint8) bool { return s.flags&(ackedSynA<<dir) != 0 }

func (s *slot) setSyn(dir uint8, seq uint32) {
	if s.isn(dir) != seq {
		s.flags &^= ackedSynA << dir
	}
	s.flags |= sawSynA << dir
	if dir == 0 {
		s.isnA = seq
	} else {
		s.isnB = seq
	}
}

func (s *slot) setOpener(dir uint8) {
	s.flags = s.flags&^(openedByA|openedByB) | openedByA<<dir
}

// resets reports whether a reset from direction dir ends a flow that has carried no payload: the receiver ignores one of another number (RFC 9293,
// Section 3.10.7).
func (s *slot) resets(dir uint8, seg *flow.Segment) bool {
	if s.sawSyn(dir) {
		return seg.Seq == s.isn(dir)+1
	}
	return seg.Flags.Has(flow.ACK) && seg.Ack == s.isn(1-dir)+1 // a refusal
}

// noteAck takes the acknowledgement of what direction dir has sent, of which only the SYN can have been captured. Of two answers with
// different numbers it tells which one the receiver took; a number a little ahead acknowledges payload that was not captured.
func (s *slot) noteAck(dir uint8, ack uint32) {
	if !s.sawSyn(dir) || s.ackedSyn(dir) {
		return
	}
	if d := int32(ack - 1 - s.isn(dir)); d < 0 || d > rstWindow {
		s.setSyn(dir, ack-1)
	} else if d > 0 {
		return
	}
	s.flags |= ackedSynA << dir
}
