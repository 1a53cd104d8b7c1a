package analyze

import (
	"math"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// admit makes a slot for a flow that is seen for the first time, at the cost of an idle one when the table is full.
func (a *Analyzer) admit(k *flowKey, seg *flow.Segment) *slot {
	a.stats.Flows++
	if a.stats.Flows%sweepEvery == 0 {
		a.table.sweep(sweepStep*sweepEvery, a.idle)
	}
	if a.table.used >= a.o.MaxFlows {
		a.evict()
	}
	s := a.table.insert(k)
	s.start = seg.Time
	return s
}

// idle reports whether a slot has been silent for too long, and finishes its flow if so.
func (a *Analyzer) idle(s *slot) bool {
	limit := uint32(idleOpening)
	switch {
	case s.state == slotActive && a.conns[s.conn].endSeen:
		limit = idleFinished
	case s.state == slotActive:
		limit = idleActive
	case s.state == slotFinished, s.state == slotForeign, s.state == slotOpening && s.sawSyn(0) && s.sawSyn(1):
		limit = idleFinished
	}
	if a.nowSec < s.last || a.nowSec-s.last < limit {
		return false
	}
	a.forget(s)
	return true
}

// forget ends what a slot stands for, before the slot is removed.
func (a *Analyzer) forget(s *slot) {
	switch s.state {
	case slotOpening, slotClosed:
		a.stats.HalfOpen++
		delete(a.openings, s.key)
	case slotActive:
		a.conclude(a.conns[s.conn])
		a.recycle(a.conns[s.conn])
	}
}

// How evict rates flows: by what they are, and among equals by how long they have been silent.
const (
	worthActive     = iota // being read
	worthOpening           // its payload may come
	worthEnded             // read for a moment longer, for what may come late
	worthOver              // nothing hangs on it but that late packets are known as such
	worthUnanswered        // a SYN that nobody has answered for a while

	silentBits = 20 // of a rating
	// unanswered, in seconds: by then a SYN was sent a second and a third time (RFC 6298, Section 2).
	unanswered = 4
)

// worth rates a flow that is to make room or not: the higher, the sooner it goes.
func (a *Analyzer) worth(s *slot) int {
	silent := int(min(max(a.nowSec, s.last)-s.last, 1<<silentBits-1))
	kind := worthOver
	switch answered := s.sawSyn(0) && s.sawSyn(1); {
	case s.state == slotActive && a.conns[s.conn].deadline != 0:
		kind = worthEnded
	case s.state == slotActive:
		kind = worthActive
	case s.state == slotOpening && (answered || silent < unanswered):
		kind = worthOpening
	case s.state == slotOpening:
		kind = worthUnanswered
	}
	return kind<<silentBits | silent
}

// evict makes room in a full table: of the next flows it takes an unanswered one, else one that is over or has ended, else a half-open one, else the one
// silent longest.
func (a *Analyzer) evict() {
	const few, many = 32, 1024 // flows to choose from, and slots to look at for one that is not being read
	var victim *slot
	worst, seen := -1, 0
	for n := 0; seen < few || worst < worthOpening<<silentBits && n < many; n++ { // a table without a flow is not full
		s := a.table.atHand()
		a.table.moveHand()
		if s.state == slotEmpty {
			if n > 2*a.table.size {
				break // fewer than few
			}
			continue
		}
		seen++
		if w := a.worth(s); w > worst {
			victim, worst = s, w
		}
	}
	switch worst >> silentBits {
	case worthOpening, worthUnanswered:
		a.stats.EvictedOpening++
	case worthActive:
		a.stats.EvictedActive++
		a.conns[victim.conn].evicted = true
	default:
		a.stats.EvictedFinished++
	}
	a.forget(victim)
	key := victim.key
	a.table.remove(&key)
}

// over handles a packet of a flow that was judged, or is none of ours: only the SYN of a new one on the same five-tuple matters.
func (a *Analyzer) over(s *slot, dir uint8, seg *flow.Segment) {
	if seg.Flags&(flow.SYN|flow.ACK) != flow.SYN {
		if seg.Flags&(flow.FIN|flow.RST) != 0 {
			s.state = slotEnded
		}
		return
	}
	if s.isn(dir) == seg.Seq && s.sawSyn(dir) {
		return // the SYN of the flow that is over, once more
	}
	a.renew(s, seg.Time)
	a.opening(s, dir, seg)
}

// renew makes a slot that of a new flow on the same five-tuple.
func (a *Analyzer) renew(s *slot, start int64) {
	*s = slot{key: s.key, start: start, conn: -1, last: s.last, state: slotOpening}
	delete(a.openings, s.key) // the owner of another connection
	a.stats.Flows++
}

// opening handles a packet of a flow that has not carried payload yet.
func (a *Analyzer) opening(s *slot, dir uint8, seg *flow.Segment) {
	switch syn, ack := seg.Flags.Has(flow.SYN), seg.Flags.Has(flow.ACK); {
	case seg.Flags.Has(flow.RST):
		// A refusal leaves the slot as it is: the client may try again with the same SYN (as after the answer of a connection in TIME-WAIT).
	case syn && ack:
		s.state = slotOpening
		if !s.sawSyn(1 - dir) {
			s.setSyn(1-dir, seg.Ack-1)
		}
		s.noteAck(1-dir, seg.Ack)
		if !s.ackedSyn(dir) { // a second answer with another number comes too late if the first was taken
			s.setSyn(dir, seg.Seq)
		}
		s.setOpener(1 - dir)
	case syn:
		if s.sawSyn(dir) && s.isn(dir) != seg.Seq { // another try, or a new connection after one that carried nothing
			a.stats.HalfOpen++
			a.renew(s, seg.Time)
		}
		s.state = slotOpening
		s.setSyn(dir, seg.Seq)
		s.setOpener(dir)
	case ack:
		s.noteAck(1-dir, seg.Ack)
	}
	s.flags |= sentA << dir
	if seg.Length > 0 {
		c := a.activate(s)
		a.deliverSegment(c, dir, seg)
	} else if seg.Flags&(flow.FIN|flow.RST) != 0 {
		s.state = slotClosed
		if seg.Flags.Has(flow.FIN) || s.resets(dir, seg) {
			delete(a.openings, s.key) // a segment with payload that comes late brings its own
		}
	} else if seg.Opening != nil {
		a.keepOpening(s, seg.Opening)
	}
}

// active handles a packet of a flow that a conn reads.
func (a *Analyzer) active(s *slot, dir uint8, seg *flow.Segment) {
	c := a.conns[s.conn]
	if seg.Flags.Has(flow.SYN) && a.reopened(s, c, dir, seg) {
		return
	}
	if c.newSyn.seen && !seg.Flags.Has(flow.SYN) && dir == c.newSyn.dir && seg.Length > 0 && seg.Seq == c.newSyn.seq+1 {
		a.restart(s, c, seg.Time)
		s.setSyn(dir, seg.Seq-1)
		s.setOpener(dir)
		a.opening(s, dir, seg)
		return
	}
	a.deliverSegment(c, dir, seg)
}

// reopened recognises that a SYN begins a new connection on the five-tuple of one that is still being read: at once if that one has
// ended, else when the other side, or data, confirms it, so that a stray SYN cannot cut a session off. It reports whether the packet is dealt with.
func (a *Analyzer) reopened(s *slot, c *conn, dir uint8, seg *flow.Segment) bool {
	st := &c.streams[dir]
	same := s.sawSyn(dir) && s.isn(dir) == seg.Seq
	if same {
		return false
	}
	if !seg.Flags.Has(flow.ACK) {
		if c.endSeen {
			a.restart(s, c, seg.Time)
			a.opening(s, dir, seg)
			return true
		}
		c.newSyn.seen, c.newSyn.dir, c.newSyn.seq, c.newSyn.time = true, dir, seg.Seq, seg.Time
		return true
	}
	// A SYN+ACK with another number: the answer to a new SYN, or a second answer to the first.
	if c.newSyn.seen && dir != c.newSyn.dir && seg.Ack-c.newSyn.seq-1 < 1<<16 { // or more, if the SYN had data
		start := c.newSyn
		a.restart(s, c, start.time)
		s.setSyn(start.dir, start.seq)
		s.setOpener(start.dir)
		a.opening(s, dir, seg)
		return true
	}
	if st.offset == 0 && !(st.ackedSeen && st.acked == st.next) {
		s.setSyn(dir, seg.Seq)
		st.sync(seg.Seq+1, true)
		a.drain(c, dir, false)
	}
	return seg.Length == 0 || !c.inUse
}

// restart finishes the flow of a slot and makes the slot a new flow on the same five-tuple.
func (a *Analyzer) restart(s *slot, c *conn, start int64) {
	a.conclude(c)
	a.recycle(c)
	a.renew(s, start)
}

// activate gives a flow a conn, because payload came.
func (a *Analyzer) activate(s *slot) *conn {
	var c *conn
	if n := len(a.free); n > 0 {
		c = a.conns[a.free[n-1]]
		a.free = a.free[:n-1]
	} else {
		c = &conn{index: int32(len(a.conns))}
		a.conns = append(a.conns, c)
	}
	c.begin(a, s)
	if len(a.openings) > 0 {
		c.opening = a.openings[s.key]
		delete(a.openings, s.key)
	}
	s.state, s.conn = slotActive, c.index
	a.order.opened(c)
	return c
}

// finish concludes a conn and leaves its slot behind, so that late packets of the flow are recognised as such.
func (a *Analyzer) finish(c *conn) {
	if s := a.table.find(&c.key); s != nil && s.state == slotActive && s.conn == c.index {
		s.state, s.conn = slotFinished, -1
		switch {
		case c.endSeen:
			s.state = slotEnded
		case c.dismissed && !c.ours && !a.o.All:
			s.state = slotForeign
		}
	}
	a.conclude(c)
	a.recycle(c)
}

// ignore drops a conn whose flow is none of ours.
func (a *Analyzer) ignore(c *conn) {
	c.dismissed = true
	if c.concluding {
		return
	}
	a.finish(c)
}

// recycle makes a conn free for another flow.
func (a *Analyzer) recycle(c *conn) {
	a.order.dropped(c)
	c.release(a)
	a.free = append(a.free, c.index)
}

// linger queues a conn whose flow has ended.
func (a *Analyzer) linger(c *conn) {
	deadline := a.now + lingering
	if deadline < a.now {
		deadline = math.MaxInt64
	}
	c.deadline = deadline
	a.ended = append(a.ended, lingerer{c, c.serial, deadline})
	if len(a.ended) > maxLingering {
		a.settleFirst(len(a.ended) - maxLingering)
	}
}

// settle finishes conns whose time after the end is over.
func (a *Analyzer) settle(now int64) {
	n := 0
	for n < len(a.ended) && a.ended[n].deadline < now {
		n++
	}
	a.settleFirst(n)
}

// settleFirst finishes the first n of the ended conns.
func (a *Analyzer) settleFirst(n int) {
	for _, l := range a.ended[:n] {
		if l.conn.inUse && l.conn.serial == l.serial && l.conn.deadline == l.deadline {
			a.finish(l.conn)
		}
	}
	a.ended = a.ended[n:]
}
