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

// slotState says what is known of a flow.
type slotState uint8

const (
	slotEmpty    slotState = iota
	slotOpening            // SYN seen, no payload: all that is known is in the slot itself
	slotActive             // a conn reads it
	slotFinished           // judged or found to be none of ours: its packets cost one look-up
	slotEnded              // slotFinished, and a FIN or RST was seen
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

// flowTable maps flows to slots by open addressing with linear probing and backward-shift deletion. It is seeded at random, so that
// nobody can choose addresses that collide; nothing that is put out depends on the order of slots.
//
// A pointer to a slot is valid until the next insert or remove.
type flowTable struct {
	slots []slot
	mask  uint32
	used  int
	seed  [2]uint64
	hand  uint32 // where the next sweep step looks
}

// minSlots is the table's first size; it doubles when three quarters are used. With linear probing a miss looks at 8 slots on average
// then, and would look at 32 at seven eighths.
const minSlots = 1 << 10

// sweepStep is how many slots are looked at for each new flow, in search of idle ones. The table is fuller in front of the hand, where they
// are still to be dropped, than behind it, by up to 1/sweepStep of all slots; a stretch that becomes full altogether costs every look-up a walk
// to its end. With 2, a capture of 200,000 flows, most of them idle, had runs of 70,000 slots at the load that seven eighths allowed, and took ten times as long.
const sweepStep = 8

func newFlowTable() *flowTable {
	return &flowTable{slots: make([]slot, minSlots), mask: minSlots - 1, seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}}
}

// hash mixes the 36 bytes of a key with the table's seed by 64x64 to 128 bit multiplications.
func (t *flowTable) hash(k *flowKey) uint32 {
	a1, a2 := binary.LittleEndian.Uint64(k.a[:8]), binary.LittleEndian.Uint64(k.a[8:])
	b1, b2 := binary.LittleEndian.Uint64(k.b[:8]), binary.LittleEndian.Uint64(k.b[8:])
	ports := uint64(k.tag)<<32 | uint64(k.pa)<<16 | uint64(k.pb)
	h1, l1 := bits.Mul64(a2^t.seed[0], b2^t.seed[1]^ports<<13)
	h2, l2 := bits.Mul64(a1^t.seed[1]^ports, b1^bits.RotateLeft64(t.seed[0], 32))
	h, l := bits.Mul64(h1^l1^t.seed[0], h2^l2^ports^t.seed[1])
	return uint32(h ^ l ^ h>>32)
}

// find returns the slot of k, or nil.
func (t *flowTable) find(k *flowKey) *slot { return t.findAt(t.hash(k), k) }

// findAt is find for a key whose hash is known.
func (t *flowTable) findAt(hash uint32, k *flowKey) *slot {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.state == slotEmpty {
			return nil
		}
		if s.key == *k {
			return s
		}
	}
}

// insert adds k, which must not be there, and returns its slot, zero but for key and state.
func (t *flowTable) insert(k *flowKey) *slot {
	if t.used >= len(t.slots)/4*3 {
		t.grow()
	}
	t.used++
	s := t.place(k)
	*s = slot{key: *k, state: slotOpening, conn: -1}
	return s
}

func (t *flowTable) place(k *flowKey) *slot {
	i := t.hash(k) & t.mask
	for t.slots[i].state != slotEmpty {
		i = (i + 1) & t.mask
	}
	return &t.slots[i]
}

func (t *flowTable) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	t.mask = uint32(len(t.slots) - 1)
	for i := range old {
		if old[i].state != slotEmpty {
			*t.place(&old[i].key) = old[i]
		}
	}
}

// remove deletes a slot that find, insert or sweep returned. Other slots may move.
func (t *flowTable) remove(k *flowKey) {
	i := t.hash(k) & t.mask
	for t.slots[i].key != *k || t.slots[i].state == slotEmpty {
		if t.slots[i].state == slotEmpty {
			return
		}
		i = (i + 1) & t.mask
	}
	t.used--
	// Backward shift: pull every later slot of the same run that may stand at the hole.
	for j := i; ; {
		j = (j + 1) & t.mask
		if t.slots[j].state == slotEmpty {
			break
		}
		home := t.hash(&t.slots[j].key) & t.mask
		if (j-home)&t.mask >= (j-i)&t.mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = slot{}
}

// sweep moves the table's hand over n slots and calls drop for each that is in use; drop returns true to have it removed.
func (t *flowTable) sweep(n int, drop func(*slot) bool) {
	for range n {
		s := &t.slots[t.hand&t.mask]
		if s.state != slotEmpty && drop(s) {
			key := s.key
			t.remove(&key)
			continue // another slot may have moved here
		}
		t.hand++
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
