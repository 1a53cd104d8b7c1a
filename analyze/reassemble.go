package analyze

import "github.com/dynwatch/dynwatch/internal/flow"

// rstWindow is how far from the expected sequence number an RST, a FIN or the first byte of a stream may lie to be taken for genuine; a forged
// one seldom knows better.
const rstWindow = 1 << 20

// deliverSegment feeds one packet of an active flow.
func (a *Analyzer) deliverSegment(c *conn, dir uint8, seg *flow.Segment) {
	st, peer := &c.streams[dir], &c.streams[1-dir]
	st.seen = true
	c.now, c.heard = seg.Time, seg.Time
	if a.o.Live {
		c.heard = a.now
	}
	c.last = max(c.last, seg.Time)
	if o := seg.Opening; o != nil && (c.opening == nil || o.RedirectedTo.IsValid()) { // a later look at the process may find less of it
		c.opening = o
	}
	c.cookie = seg.Cookie
	if seg.Flags&(flow.ACK|flow.RST) == flow.ACK {
		if !peer.ackedSeen || int32(seg.Ack-peer.acked) > 0 {
			peer.acked, peer.ackedSeen = seg.Ack, true
		}
		if !peer.synced && !c.midstream {
			// Its SYN was not captured, but the other side says which byte it waits for.
			peer.sync(seg.Ack, false)
		}
	}
	if c.endRST && dir == c.endDir && seg.Length > 0 {
		a.outlived(c, seg)
	}
	switch {
	case seg.Length == 0:
	case st.unwanted:
		st.pass(seg)
	default:
		a.payload(c, dir, seg)
		if !c.inUse {
			return
		}
		if seg.Final {
			a.stopReading(c, dir)
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
	if seg.Length > 0 && c.inUse {
		a.weigh(c)
	}
}

// pass notes how far a stream that is no longer read has come.
func (s *stream) pass(seg *flow.Segment) {
	if end := seg.Seq + uint32(seg.Length); s.synced && s.distance(end) > 0 {
		s.next = end
	}
}

// near reports whether a number lies where a stream has come to, as far as the capture or the other side's acknowledgement tells.
func (s *stream) near(seq uint32) bool {
	d := s.distance(seq)
	if s.ackedSeen && (d < -rstWindow || d > rstWindow) {
		d = int(int32(seq - s.acked))
	}
	return d >= -rstWindow && d <= rstWindow
}

// end notes a FIN or RST.
func (a *Analyzer) end(c *conn, dir uint8, seg *flow.Segment) {
	st := &c.streams[dir]
	rst := seg.Flags.Has(flow.RST)
	if st.synced && !st.near(seg.Seq) {
		if !rst || seg.Seq != 0 || st.offset != 0 { // a closed port's RST has no number to give (RFC 9293, Section 3.10.7.1)
			return
		}
	}
	switch {
	case !rst:
		st.finSeen, st.finSeq = true, seg.Seq+uint32(seg.Length)
	case !st.finSeen && !st.rstSeen && seg.Seq != 0: // injected ones come in series, with guesses
		st.rstSeen, st.finSeq = true, seg.Seq
	}
	if !c.endSeen {
		c.endSeen, c.endDir, c.endRST = true, dir, rst
	}
	if len(st.pending) > 0 { // the FIN may vouch for the last bytes
		a.drain(c, dir, false)
		if !c.inUse {
			return
		}
	}
	if c.deadline == 0 && (rst || c.streams[0].finSeen && c.streams[1].finSeen) {
		if !rst && a.o.Live && a.o.Secrets == nil && c.cookie != 0 && c.streams[0].ended() && c.streams[1].ended() {
			a.finish(c) // a socket's packets: nothing lies between them and the socket that could have changed their order
			return
		}
		a.linger(c)
	}
}

// ended reports whether the stream has come to its FIN: nothing more of it can follow.
func (s *stream) ended() bool {
	return s.finSeen && s.synced && s.distance(s.finSeq) <= 0 && len(s.pending) == 0
}

// outlived takes an RST back whose supposed sender goes on behind it: somebody else sent it.
func (a *Analyzer) outlived(c *conn, seg *flow.Segment) {
	st := &c.streams[c.endDir]
	if !st.rstSeen || int32(seg.Seq+uint32(seg.Length)-st.finSeq) <= 0 {
		return
	}
	st.rstSeen = false
	c.endSeen, c.endRST, c.deadline = false, false, 0
}

// payload puts a segment's bytes into their stream.
func (a *Analyzer) payload(c *conn, dir uint8, seg *flow.Segment) {
	st := &c.streams[dir]
	seq, data := seg.Seq, seg.Payload
	if seg.Flags.Has(flow.SYN) {
		seq++ // data behind a SYN begins after it (RFC 9293, Section 3.4; fast open: RFC 7413)
	}
	after := max(seg.Length-len(data), 0)
	if seg.Final {
		after = 0 // the source leaves the rest out by design: no loss
	}
	if maybePadding(seg) {
		if after > 0 || !st.synced || st.distance(seq) < 0 {
			return // what the frame does not hold cannot be told from padding
		}
		st.doubtful(seq, data, c.heard)
		a.drain(c, dir, false)
		return
	}
	if !st.synced {
		st.sync(seq, false)
	}
	if len(st.pending) > 0 {
		st.dropDoubts(seq, len(data))
	}
	dist := st.distance(seq)
	if st.offset == 0 && st.fromSyn && (dist < -1 || dist > rstWindow) && !(st.ackedSeen && st.acked == st.next) {
		// A first byte far from what the SYN promised, and the SYN was never acknowledged: it belonged to another attempt.
		st.sync(seq, false)
		dist = 0
	}
	switch {
	case dist == 0 && len(st.pending) == 0:
		a.deliver(c, dir, data, after)
		return
	case dist < 0:
		if st.keepAlive(seg) || a.earlier(c, dir, seq, data, after) {
			return
		}
		st.compare(dist, data)
		if -dist >= len(data) {
			return // all of it was delivered before; what the snap length cut off came with the first copy, or not
		}
		a.deliverUpToPending(c, dir, data[-dist:], after)
	case dist == 0:
		a.deliverUpToPending(c, dir, data, after)
	default:
		if dist > maxAhead && !st.reaches(seq, len(data)+after) {
			a.stats.OutOfWindow++
			return
		}
		st.hold(seq, data, after, c.heard, false)
	}
	if c.inUse {
		a.drain(c, dir, false)
	}
}

// reaches reports whether a segment that lies far ahead may be the stream's all the same: the other side has acknowledged so much, or one such
// segment follows the other.
func (s *stream) reaches(seq uint32, n int) bool {
	if s.ackedSeen && int32(seq-s.acked) < maxAhead {
		return true
	}
	if s.strays > 0 && s.stray == seq {
		s.strays++
	} else {
		s.strays = 1
	}
	s.stray = seq + uint32(n)
	return s.strays >= strayRun
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

// earlier handles bytes from before the first byte of a stream whose SYN was not captured: the capture may have begun out of order.
// As long as nothing was recognised, the stream begins anew at the earlier byte. It reports whether it did.
func (a *Analyzer) earlier(c *conn, dir uint8, seq uint32, data []byte, after int) bool {
	st := &c.streams[dir]
	before := int(int32(st.base - seq))
	if st.fromSyn || before <= 0 || before > maxKept || c.outer.phase > phaseWatch || st.offset != int64(len(st.kept)) {
		return false
	}
	kept, base := append([]byte(nil), st.kept...), st.base
	st.kept, st.offset, st.keptEnd = nil, 0, 0
	st.sync(seq, false)
	c.outer.held[dir], c.outer.offset[dir] = nil, 0
	st.hold(base, kept, 0, c.heard, false)
	a.deliverUpToPending(c, dir, data, after)
	if c.inUse {
		a.drain(c, dir, false)
	}
	return true
}

// deliverUpToPending delivers data that begins at next, where bytes that are pending came first and win over it.
func (a *Analyzer) deliverUpToPending(c *conn, dir uint8, data []byte, after int) {
	st := &c.streams[dir]
	begin := st.next
	for {
		done := int(st.next - begin)
		if done >= len(data) {
			return
		}
		rest := data[done:]
		room := len(rest)
		if len(st.pending) > 0 {
			room = min(room, st.distance(st.pending[0].seq))
		}
		if room > 0 {
			tail := 0
			if room == len(rest) {
				tail = after
			}
			a.deliver(c, dir, rest[:room], tail)
		} else {
			ch := st.take()
			skip := -st.distance(ch.seq)
			if skip >= len(ch.data) {
				continue
			}
			st.conflictBytes += countDiff(rest, ch.data[skip:])
			a.deliver(c, dir, ch.data[skip:], ch.after)
		}
		if !c.inUse || st.unwanted {
			return
		}
	}
}

// drain delivers what is pending, as far as there is no hole, or the hole is given up, or all must go because nothing more will come.
func (a *Analyzer) drain(c *conn, dir uint8, all bool) {
	st := &c.streams[dir]
	for len(st.pending) > 0 {
		d := st.distance(st.pending[0].seq)
		if st.pending[0].doubt && d <= 0 {
			sent := d == 0 && st.vouched(all)
			if d == 0 && !sent && !all && !st.holeGivenUp(c.heard) {
				break
			}
			if !sent {
				st.take()
				continue
			}
		}
		if d > 0 {
			if !all && !st.holeGivenUp(c.heard) {
				break
			}
			a.gap(c, dir, d)
			if !c.inUse || st.unwanted {
				return
			}
			continue
		}
		ch := st.take()
		if d < 0 {
			st.compare(d, ch.data)
			if -d >= len(ch.data) {
				continue
			}
			ch.data = ch.data[-d:]
		}
		a.deliver(c, dir, ch.data, ch.after)
		if !c.inUse || st.unwanted {
			return
		}
	}
	a.recount(st)
	if !all && a.buffered > a.o.MaxBuffered {
		a.relieve()
	}
}

// recount keeps the sum of what is held behind holes.
func (a *Analyzer) recount(st *stream) {
	cost := st.pendingBytes + chunkCost*len(st.pending)
	a.buffered += cost - st.counted
	st.counted = cost
}

// deliver hands over the next bytes of a direction, and tells of those that the capture cut off behind them.
func (a *Analyzer) deliver(c *conn, dir uint8, data []byte, after int) {
	st := &c.streams[dir]
	switch p := c.outer.phase; {
	case p == phaseTLS && c.handshakeDone != 0:
		// The handshake stays, for copies of it that come late; encrypted bytes are not worth it.
	case p == phaseNew, p == phaseTLS, p == phaseWatch && !st.fromSyn:
		if st.kept == nil {
			st.kept = a.takeKept()
		}
		st.keep(data)
	default:
		a.putKept(st)
	}
	st.offset += int64(len(data))
	st.next += uint32(len(data))
	a.consume(c, dir, data)
	if !c.inUse || after == 0 || st.unwanted {
		return
	}
	st.truncated++
	a.stats.TruncatedPackets++
	if len(st.pending) > 0 { // another segment brought the bytes behind
		after = min(after, max(0, st.distance(st.pending[0].seq)))
	}
	if after > 0 {
		a.gap(c, dir, after)
	}
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
		a.putKept(st)
		st.release()
		a.recount(st)
	}
}
