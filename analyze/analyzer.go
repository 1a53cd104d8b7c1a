package analyze

import (
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// Options are what an Analyzer works with. Endpoints, Trust, Policy and Emit are required.
type Options struct {
	// Source is the word for where segments come from: file, ebpf or packet.
	Source string
	// All reports every TLS session, not only DynamoDB's.
	All bool
	// Tables asks for table names in cleartext requests.
	Tables bool

	Endpoints *endpoint.Set
	Trust     *trust.Store
	Policy    *rules.Policy
	// History is the rules' memory over sessions; nil gives a bounded one of this run alone.
	History rules.History
	// Secrets decrypts TLS 1.3 handshakes; nil if there are none.
	Secrets tlswire.Secrets

	// Emit takes every finished session, in the order of first packets.
	Emit func(*session.Session)
	// EmitDNS takes every DNS answer about a DynamoDB name; may be nil.
	EmitDNS func(*session.DNS)

	// Live puts a session out as soon as nothing that follows can change its verdict for the better or worse, instead of at the flow's end
	// and in the order of starts; what shows later, a refusal after the handshake for example, goes to EmitFinding.
	Live        bool
	EmitFinding func(*session.Session, session.Finding)

	// MaxFlows bounds the flow table; 0 means DefaultMaxFlows.
	MaxFlows int
	// MaxBuffered bounds the bytes held behind holes over all flows; 0 means DefaultMaxBuffered.
	MaxBuffered int
}

// Defaults of the bounds, and how long flows live, in packet time.
const (
	DefaultMaxFlows    = 1 << 20
	DefaultMaxBuffered = 32 << 20

	// idleOpening: a SYN without an answer or payload; Linux gives up after about two minutes (tcp_syn_retries).
	idleOpening = 75
	// idleFinished: a flow that was judged or is none of ours. After it, a packet in its middle is looked at anew.
	idleFinished = 300
	// idleActive: a flow that is being read, or a reported one that stays open.
	idleActive = 3600
	// lingering: how long an ended flow is still read, because captures reorder.
	lingering = int64(time.Second)
)

// Stats counts what went through an Analyzer and what did not.
type Stats struct {
	Segments, Datagrams uint64
	PayloadBytes        uint64
	// Flows that carried payload or a SYN; Sessions put out; Reported by verdict is the output's to count.
	Flows, Sessions uint64
	// HalfOpen flows ended without a byte of payload.
	HalfOpen uint64
	// Evicted flows were dropped from a full table, by what they were.
	EvictedOpening, EvictedActive, EvictedFinished uint64
	// GapBytes are missing bytes inside what had to be read; ConflictBytes came twice with different content.
	GapBytes, ConflictBytes uint64
	// HolesForced are holes given up early because MaxBuffered was reached.
	HolesForced uint64
	// NotTLS are streams that began as TLS and broke off from it; Unreadable are cleartext HTTP streams given up.
	ProtocolErrors, Unreadable uint64
	// HTTPUnfollowed are cleartext HTTP flows that were dropped after a request that was not DynamoDB's, because many were open.
	HTTPUnfollowed uint64
	// DNSAnswers about DynamoDB names; DNSMalformed messages on port 53.
	DNSAnswers, DNSMalformed uint64
	// Late sessions were put out after one that began later.
	Late uint64
	// ResumptionsEvicted and ResolvedEvicted are entries that bounded memories dropped.
	ResumptionsEvicted, ResolvedEvicted uint64
	// TruncatedPackets had payload cut off inside what had to be read.
	TruncatedPackets uint64
}

// Analyzer reads the segments of one capture. Its methods must be called by one goroutine at a time.
type Analyzer struct {
	o        Options
	table    *flowTable
	conns    []*conn
	free     []int32
	ended    []lingerer // conns that saw a FIN or RST, by rising deadline
	now      int64      // latest time of a packet
	nowSec   uint32
	buffered int
	stats    Stats
	order    orderer
	idleTLS  []*tlswire.Conn
	// following counts the cleartext HTTP flows that are read.
	following int
	resolved  *endpoint.Resolved
	resumed   resumptions
}

type lingerer struct {
	conn     *conn
	serial   uint32 // of the conn when it was queued: conns are reused
	deadline int64
}

// New returns an Analyzer. It panics if a required option is missing: that is an error of the program, not of input.
func New(o Options) *Analyzer {
	if o.Endpoints == nil || o.Trust == nil || o.Policy == nil || o.Emit == nil {
		panic("analyze: Endpoints, Trust, Policy and Emit are required")
	}
	if o.MaxFlows <= 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = DefaultMaxBuffered
	}
	if o.History == nil {
		o.History = rules.NewRecent()
	}
	a := &Analyzer{o: o, table: newFlowTable(), resolved: endpoint.NewResolved(o.Endpoints, 0)}
	a.order.emit = func(s *session.Session) {
		if !o.Live {
			a.judge(s)
		}
		a.stats.Sessions++
		o.Emit(s)
	}
	return a
}

// UseSecrets has the handshakes of flows that begin from now on decrypted, where s holds their secrets.
func (a *Analyzer) UseSecrets(s tlswire.Secrets) { a.o.Secrets = s }

// Stats returns the counters so far.
func (a *Analyzer) Stats() Stats {
	s := a.stats
	s.Late = a.order.late
	s.ResumptionsEvicted = a.resumed.evicted
	s.ResolvedEvicted = a.resolved.Evicted()
	return s
}

// Segment takes the next packet's transport part. Nothing of it is kept by reference.
func (a *Analyzer) Segment(seg *flow.Segment) {
	if seg.Time > a.now {
		a.now = seg.Time
		a.nowSec = uint32(uint64(seg.Time) / 1e9)
		if len(a.ended) > 0 && a.ended[0].deadline < a.now {
			a.settle(a.now)
		}
	}
	if seg.Proto == flow.UDP {
		a.stats.Datagrams++
		a.datagram(seg)
		return
	}
	a.stats.Segments++
	a.stats.PayloadBytes += uint64(len(seg.Payload))
	k, dir := keyOf(&seg.FiveTuple, seg.Cookie)
	s := a.table.find(&k)
	if s == nil {
		if seg.Length == 0 && !seg.Flags.Has(flow.SYN) {
			if seg.Opening != nil && seg.Opening.Earlier {
				a.existing(a.admit(&k, seg), dir, seg.Opening)
			}
			return // nothing to learn from an acknowledgement of a flow that we do not know
		}
		s = a.admit(&k, seg)
	}
	s.last = a.nowSec
	switch s.state {
	case slotFinished:
		if seg.Flags&(flow.SYN|flow.ACK) != flow.SYN {
			if seg.Flags&(flow.FIN|flow.RST) != 0 {
				s.flags |= sawEnd
			}
			return
		}
		if s.isn(dir) == seg.Seq && s.sawSyn(dir) {
			return // the SYN of the flow that was judged, once more
		}
		*s = slot{key: s.key, start: seg.Time, conn: -1, last: s.last, state: slotOpening}
		a.stats.Flows++
		fallthrough
	case slotOpening:
		a.opening(s, dir, seg)
	case slotActive:
		a.active(s, dir, seg)
	}
}

// Advance tells the time when no packet does: a live source calls it while the network is quiet.
func (a *Analyzer) Advance(now int64) {
	if now > a.now {
		a.now, a.nowSec = now, uint32(uint64(now)/1e9)
	}
	a.settle(a.now)
	a.reportQuiet()
	a.table.sweep(len(a.table.slots)/64, a.idle)
}

// Flush ends every flow, as the capture does, and puts out what is left.
func (a *Analyzer) Flush() {
	a.settle(1<<63 - 1)
	for _, c := range a.conns {
		if c.inUse {
			a.finish(c)
		}
	}
	for i := range a.table.slots {
		if a.table.slots[i].state == slotOpening {
			a.stats.HalfOpen++
		}
	}
	a.table = newFlowTable()
	a.order.release()
}

// admit makes a slot for a flow that is seen for the first time, at the cost of an idle one when the table is full.
func (a *Analyzer) admit(k *flowKey, seg *flow.Segment) *slot {
	a.stats.Flows++
	a.table.sweep(2, a.idle)
	if a.table.used >= a.o.MaxFlows {
		a.evict()
	}
	s := a.table.insert(k)
	s.start = seg.Time
	return s
}

// idle reports whether a slot has been silent for too long, and finishes its flow if so.
func (a *Analyzer) idle(s *slot) bool {
	var limit uint32
	switch s.state {
	case slotOpening:
		limit = idleOpening
	case slotFinished:
		if limit = idleFinished; s.flags&sawEnd != 0 {
			limit = idleOpening
		}
	default:
		limit = idleActive
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
	case slotOpening:
		a.stats.HalfOpen++
	case slotActive:
		a.conclude(a.conns[s.conn])
		a.recycle(a.conns[s.conn])
	}
}

// evict makes room in a full table: of the next slots it takes a half-open flow, else a finished one, else the one silent longest.
func (a *Analyzer) evict() {
	var victim *slot
	worst := -1
	for range 64 {
		s := &a.table.slots[a.table.hand&a.table.mask]
		a.table.hand++
		if s.state == slotEmpty {
			continue
		}
		score := int(min(a.nowSec-s.last, 1<<20))
		switch s.state {
		case slotOpening:
			score += 2 << 21
		case slotFinished:
			score += 1 << 21
		}
		if score > worst {
			victim, worst = s, score
		}
	}
	if victim == nil {
		return // 64 empty slots in a row cannot be in a full table
	}
	switch victim.state {
	case slotOpening:
		a.stats.EvictedOpening++
	case slotFinished:
		a.stats.EvictedFinished++
	case slotActive:
		a.stats.EvictedActive++
		a.conns[victim.conn].evicted = true
	}
	a.forget(victim)
	key := victim.key
	a.table.remove(&key)
}

// opening handles a packet of a flow that has not carried payload yet.
func (a *Analyzer) opening(s *slot, dir uint8, seg *flow.Segment) {
	if seg.Flags.Has(flow.SYN) {
		s.setSyn(dir, seg.Seq)
		if seg.Flags.Has(flow.ACK) {
			if !s.sawSyn(1 - dir) {
				s.setSyn(1-dir, seg.Ack-1)
			}
			s.setOpener(1 - dir)
		} else {
			s.setOpener(dir)
		}
	}
	if seg.Length > 0 {
		c := a.activate(s)
		a.deliverSegment(c, dir, seg)
		return
	}
	// A refusal leaves the slot as it is: the client may try again with the same SYN (as after the answer of a connection in TIME-WAIT).
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
	if c.newSyn.seen && dir != c.newSyn.dir && seg.Ack == c.newSyn.seq+1 {
		start := c.newSyn
		a.restart(s, c, start.time)
		s.setSyn(start.dir, start.seq)
		s.setOpener(start.dir)
		a.opening(s, dir, seg)
		return true
	}
	if st.offset == 0 {
		s.setSyn(dir, seg.Seq)
		st.sync(seg.Seq+1, true)
	}
	return seg.Length == 0
}

// restart finishes the flow of a slot and makes the slot a new flow on the same five-tuple.
func (a *Analyzer) restart(s *slot, c *conn, start int64) {
	a.conclude(c)
	a.recycle(c)
	*s = slot{key: s.key, start: start, conn: -1, last: s.last, state: slotOpening}
	a.stats.Flows++
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
	s.state, s.conn = slotActive, c.index
	a.order.opened(c)
	return c
}

// finish concludes a conn and leaves its slot behind, so that late packets of the flow are recognised as such.
func (a *Analyzer) finish(c *conn) {
	if s := a.table.find(&c.key); s != nil && s.state == slotActive && s.conn == c.index {
		s.state, s.conn = slotFinished, -1
		if c.endSeen {
			s.flags |= sawEnd
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
	a.ended = append(a.ended, lingerer{c, c.serial, a.now + lingering})
}

// settle finishes conns whose time after the end is over.
func (a *Analyzer) settle(now int64) {
	n := 0
	for n < len(a.ended) && a.ended[n].deadline < now {
		if l := a.ended[n]; l.conn.inUse && l.conn.serial == l.serial {
			a.finish(l.conn)
		}
		n++
	}
	a.ended = a.ended[n:]
}

// isn, sawSyn, setSyn and setOpener read and write a slot by direction: 0 is from end a.
func (s *slot) isn(dir uint8) uint32 {
	if dir == 0 {
		return s.isnA
	}
	return s.isnB
}

func (s *slot) sawSyn(dir uint8) bool { return s.flags&(sawSynA<<dir) != 0 }

func (s *slot) setSyn(dir uint8, seq uint32) {
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
