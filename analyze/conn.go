package analyze

import (
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// phase says what a conn's bytes were recognised as.
type phase uint8

const (
	phaseNew    phase = iota // no byte was delivered
	phaseWatch               // bytes were seen and not recognised; the starts of segments are looked at
	phaseTLS                 // perhaps inside a tunnel
	phaseHTTP                // perhaps inside a tunnel
	phaseDAX                 // cleartext DAX
	phaseDNS                 // DNS over TCP
	phaseOpaque              // nothing more to read, but the flow is reported (its address is DynamoDB's)
)

// conn is one flow that is being read. Directions are those of the flow's key: 0 is from end a.
type conn struct {
	index     int32
	heapIndex int
	serial    uint32 // counts the uses of this conn
	inUse     bool
	dismissed bool // none of ours: nothing is put out
	evicted   bool

	key         flowKey
	start, last int64
	now         int64 // time of the packet in hand

	// client is the direction in which the opener sends; clientKnown tells if that is more than a guess.
	client      uint8
	clientKnown bool
	midstream   bool // no SYN of either side

	streams [2]stream
	outer   layer
	inner   layer // what runs inside a CONNECT tunnel
	// tunnelled: bytes of that direction belong to the inner layer.
	tunnelled [2]bool
	flipped   bool // the client was taken for the server, and what hangs on that must be looked up again

	endSeen bool  // a FIN or RST of either side
	endDir  uint8 // who sent the first
	endRST  bool
	queued  bool // in the analyzer's queue of ended conns

	newSyn struct { // a SYN with another number on a flow that has not ended
		seen bool
		dir  uint8
		seq  uint32
		time int64
	}

	// What was decided.
	decided  bool // ours or not is known
	ours     bool
	endpoint session.Endpoint
	web      *session.HTTP
	proxy    *session.Proxy
	byAddr   bool // the server's address is in the DYNAMODB ranges
	// forward is the authority of an absolute-form request target; with it the server is a proxy.
	forward            string
	forwardCredentials bool
	following          bool // counted as a cleartext HTTP flow that is read on
	handshakeDone      int64
	settled            *session.Session // the handshake's facts, once nothing more can change them
	opening            *flow.Opening    // who opened it, where the source knows
	reported           *session.Session // what was put out while the flow went on
	concluding         bool
}

// begin makes c the reader of a slot's flow.
func (c *conn) begin(a *Analyzer, s *slot) {
	index, serial := c.index, c.serial
	*c = conn{index: index, serial: serial + 1, heapIndex: -1, inUse: true, key: s.key, start: s.start, last: s.start, now: s.start}
	for dir := range uint8(2) {
		if s.sawSyn(dir) {
			c.streams[dir].sync(s.isn(dir)+1, true)
		}
	}
	switch {
	case s.flags&openedByA != 0:
		c.client, c.clientKnown = 0, true
	case s.flags&openedByB != 0:
		c.client, c.clientKnown = 1, true
	default:
		c.midstream = true
		c.client = guessClient(&c.key)
	}
	c.lookUpServer(a)
}

// guessClient takes the end with the higher port for the client, unless the other one's port is DynamoDB's own.
func guessClient(k *flowKey) uint8 {
	for _, port := range [...]uint16{443, 80, 8000, 8111, 9111} {
		switch port {
		case k.pb:
			return 0
		case k.pa:
			return 1
		}
	}
	if k.pa >= k.pb {
		return 0
	}
	return 1
}

func (c *conn) server() (flow.IP, uint16) {
	if c.client == 0 {
		return c.key.b, c.key.pb
	}
	return c.key.a, c.key.pa
}

// lookUpServer notes whether the server's address is DynamoDB's.
func (c *conn) lookUpServer(a *Analyzer) {
	ip, _ := c.server()
	c.byAddr = a.o.Endpoints.Ranges().IsDynamoDB(ip)
}

// side names the sender of a direction.
func (c *conn) side(dir uint8) session.Side {
	if dir == c.client {
		return session.Client
	}
	return session.Server
}

// dir is the direction in which a side sends.
func (c *conn) dir(s session.Side) uint8 {
	if s == session.Client {
		return c.client
	}
	return 1 - c.client
}

// release frees everything that c holds.
func (c *conn) release(a *Analyzer) {
	for i := range c.streams {
		a.buffered -= c.streams[i].release()
	}
	for _, l := range [...]*layer{&c.outer, &c.inner} {
		if l.tls != nil {
			a.putTLS(l.tls)
		}
	}
	index, serial := c.index, c.serial
	*c = conn{index: index, serial: serial, heapIndex: -1}
}

// deliverSegment feeds one packet of an active flow.
func (a *Analyzer) deliverSegment(c *conn, dir uint8, seg *flow.Segment) {
	st, peer := &c.streams[dir], &c.streams[1-dir]
	st.packets++
	c.now = seg.Time
	c.last = max(c.last, seg.Time)
	if seg.Opening != nil {
		c.opening = seg.Opening
	}
	if seg.Flags.Has(flow.ACK) {
		if !peer.ackedSeen || int32(seg.Ack-peer.acked) > 0 {
			peer.acked, peer.ackedSeen = seg.Ack, true
		}
	}
	if seg.Length > 0 && !st.unwanted {
		a.payload(c, dir, seg)
		if !c.inUse {
			return
		}
	}
	if len(peer.pending) > 0 {
		a.drain(c, 1-dir, false)
		if !c.inUse {
			return
		}
	}
	if seg.Flags&(flow.FIN|flow.RST) != 0 {
		a.end(c, dir, seg)
	}
}

// rstWindow is how far from the expected sequence number an RST may lie to be taken for genuine; a forged one seldom knows better.
const rstWindow = 1 << 20

// end notes a FIN or RST.
func (a *Analyzer) end(c *conn, dir uint8, seg *flow.Segment) {
	st := &c.streams[dir]
	rst := seg.Flags.Has(flow.RST)
	if rst {
		if d := st.distance(seg.Seq); st.synced && seg.Seq != 0 && (d < -rstWindow || d > rstWindow) {
			return
		}
	} else {
		st.finSeen, st.finSeq = true, seg.Seq+uint32(seg.Length)
	}
	if !c.endSeen {
		c.endSeen, c.endDir, c.endRST = true, dir, rst
	}
	if !c.queued && (rst || c.streams[0].finSeen && c.streams[1].finSeen) {
		c.queued = true
		a.linger(c)
	}
}

// payload puts a segment's bytes into their stream.
func (a *Analyzer) payload(c *conn, dir uint8, seg *flow.Segment) {
	st := &c.streams[dir]
	seq, data := seg.Seq, seg.Payload
	if seg.Flags.Has(flow.SYN) {
		seq++ // data behind a SYN begins after it (RFC 9293, Section 3.4; fast open: RFC 7413)
	}
	after := max(seg.Length-len(data), 0)
	if len(st.doubt) > 0 {
		a.resolveDoubt(c, dir, seq)
		if !c.inUse {
			return
		}
	}
	if maybePadding(seg) {
		if after > 0 {
			return // what the frame does not hold cannot be told from padding
		}
		if st.synced && st.distance(seq) == 0 && len(st.pending) == 0 {
			st.doubt = append(st.doubt, data...)
			return
		}
	}
	if !st.synced {
		st.sync(seq, false)
	}
	dist := st.distance(seq)
	switch {
	case dist == 0 && len(st.pending) == 0:
		a.deliver(c, dir, data, after)
		return
	case dist < 0:
		if st.keepAlive(seg) {
			return
		}
		if a.earlier(c, dir, seq, data) {
			return
		}
		st.compare(dist, data)
		if -dist >= len(data) {
			return // all of it was delivered before; what the snap length cut off came with the first copy, or not
		}
		a.deliverUpToPending(c, dir, data[-dist:], after)
		if !c.inUse {
			return
		}
	case dist == 0:
		a.deliverUpToPending(c, dir, data, after)
		if !c.inUse {
			return
		}
	default:
		if st.offset == 0 && (dist > rstWindow || dist < -rstWindow) {
			// A first byte far from what the SYN promised: the SYN belonged to another attempt.
			st.sync(seq, false)
			a.deliver(c, dir, data, after)
			return
		}
		a.buffered += st.hold(seq, data, after, c.now)
		if a.buffered > a.o.MaxBuffered {
			a.stats.HolesForced++
			a.drain(c, dir, true)
			return
		}
	}
	a.drain(c, dir, false)
}

// maxPadding is the most that Ethernet pads a bare IPv4 and TCP header with (IEEE 802.3: 46 bytes of payload at least).
const maxPadding = 6

// maybePadding reports whether a segment looks like a bare acknowledgement, or SYN and ACK, whose Ethernet padding some device counts as
// payload: few zero bytes, and no other flag.
func maybePadding(seg *flow.Segment) bool {
	if seg.Length > maxPadding || seg.Flags&^flow.SYN != flow.ACK {
		return false
	}
	for _, b := range seg.Payload {
		if b != 0 {
			return false
		}
	}
	return true
}

// resolveDoubt decides on bytes that may have been padding, now that the next segment of their stream begins at seq: if it begins where
// they begin it repeats, or replaces, them; otherwise they were sent.
func (a *Analyzer) resolveDoubt(c *conn, dir uint8, seq uint32) {
	st := &c.streams[dir]
	doubt := st.doubt
	st.doubt = nil
	if d := st.distance(seq); d >= 0 && d < len(doubt) {
		return
	}
	a.deliver(c, dir, doubt, 0)
}

// earlier handles bytes from before the first byte of a stream whose SYN was not captured: the capture may have begun out of order.
// As long as nothing was recognised, the stream begins anew at the earlier byte. It reports whether it did.
func (a *Analyzer) earlier(c *conn, dir uint8, seq uint32, data []byte) bool {
	st := &c.streams[dir]
	before := int(int32(st.base - seq))
	if st.fromSyn || before <= 0 || before > maxKept || c.outer.phase > phaseWatch || st.offset != int64(len(st.kept)) {
		return false
	}
	kept, base := append([]byte(nil), st.kept...), st.base
	st.kept, st.offset, st.keptEnd = nil, 0, 0
	st.sync(seq, false)
	c.outer.held[dir], c.outer.offset[dir] = nil, 0
	a.buffered += st.hold(base, kept, 0, c.now)
	a.deliverUpToPending(c, dir, data, 0)
	if c.inUse {
		a.drain(c, dir, false)
	}
	return true
}

// deliverUpToPending delivers data that begins at next, where bytes that are pending came first and win over it.
func (a *Analyzer) deliverUpToPending(c *conn, dir uint8, data []byte, after int) {
	st := &c.streams[dir]
	for len(data) > 0 {
		if len(st.pending) == 0 {
			a.deliver(c, dir, data, after)
			return
		}
		first := &st.pending[0]
		room := st.distance(first.seq)
		if room >= len(data) {
			a.deliver(c, dir, data, 0)
			return
		}
		if room > 0 {
			a.deliver(c, dir, data[:room], 0)
			if !c.inUse || st.unwanted {
				return
			}
			data = data[room:]
		}
		ch := st.take()
		a.buffered -= len(ch.data)
		skip := -st.distance(ch.seq)
		if skip >= len(ch.data) {
			continue
		}
		st.conflictBytes += countDiff(data, ch.data[skip:])
		a.deliver(c, dir, ch.data[skip:], ch.after)
		if !c.inUse || st.unwanted {
			return
		}
		n := len(ch.data) - skip + ch.after
		if n >= len(data) {
			return
		}
		data = data[n:]
	}
}

// drain delivers what is pending, as far as there is no hole, or the hole is given up, or all must go.
func (a *Analyzer) drain(c *conn, dir uint8, all bool) {
	st := &c.streams[dir]
	for len(st.pending) > 0 {
		d := st.distance(st.pending[0].seq)
		if d > 0 {
			if !all && !st.holeGivenUp(c.now) {
				return
			}
			a.gap(c, dir, d)
			if !c.inUse || st.unwanted {
				return
			}
		}
		ch := st.take()
		a.buffered -= len(ch.data)
		if d < 0 {
			st.compare(d, ch.data)
			if -d >= len(ch.data) {
				continue
			}
			ch.data = ch.data[-d:]
		}
		a.deliver(c, dir, ch.data, ch.after)
		if !c.inUse {
			return
		}
	}
}

// deliver hands over the next bytes of a direction, and tells of those that the capture cut off behind them.
func (a *Analyzer) deliver(c *conn, dir uint8, data []byte, after int) {
	st := &c.streams[dir]
	if p := c.outer.phase; p == phaseNew || p == phaseTLS || p == phaseWatch && !st.fromSyn {
		st.keep(data)
	} else {
		st.kept = nil
	}
	st.offset += int64(len(data))
	st.next += uint32(len(data))
	a.consume(c, dir, data)
	if !c.inUse || after == 0 || st.unwanted {
		return
	}
	st.truncated++
	a.stats.TruncatedPackets++
	a.gap(c, dir, after)
}

// gap tells that n bytes of a direction are missing here.
func (a *Analyzer) gap(c *conn, dir uint8, n int) {
	st := &c.streams[dir]
	st.offset += int64(n)
	st.next += uint32(n)
	lost := a.consumeGap(c, dir, n)
	if c.inUse {
		st.gapBytes += int64(lost)
	}
	a.stats.GapBytes += uint64(lost)
}

// stopReading marks a direction as of no more interest.
func (a *Analyzer) stopReading(c *conn, dir uint8) {
	st := &c.streams[dir]
	if !st.unwanted {
		st.unwanted = true
		a.buffered -= st.release()
	}
}
