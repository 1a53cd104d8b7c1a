package ebpf

import (
	"net/netip"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// announce looks up the connection of the event in hand, and queues the opening segments of one that was looked at first.
func (s *Source) announce() {
	e := &s.event
	s.conn = nil
	if e.Opener.PID == 0 {
		return
	}
	c, isNew := s.conns.find(e, &s.clock)
	s.conn = c
	s.gaps.Add(s.conns.number(c, e))
	if e.Opener.Proto != flow.TCP || e.Opener.Earlier {
		return
	}
	o := &e.Opener
	// The kernel held back the opening of a connection to an address that nobody named until its first bytes had told what it is; or
	// the events of it were lost. Its storage has the numbers.
	if isNew && o.SYNTime != 0 && !(e.Flags.Has(flow.SYN) && !e.FromServer) {
		s.pending = append(s.pending, flow.Segment{
			FiveTuple: c.tuple, Time: s.clock.Wall(o.SYNTime), Cookie: o.Cookie, Seq: o.SYN, Flags: flow.SYN, Opening: c.opening,
		})
	}
	// The server's SYN is no event of its own: the next one that the connection has, of whatever direction, tells of it.
	if !c.answered && o.SYNACKTime != 0 {
		c.answered = true
		if e.FromServer && e.Flags.Has(flow.SYN) { // unless it carries data
			return
		}
		s.pending = append(s.pending, flow.Segment{
			FiveTuple: c.tuple.Reverse(), Time: s.clock.Wall(o.SYNACKTime), Cookie: o.Cookie, Seq: o.SYNACK, Ack: o.SYN + 1,
			Flags: flow.SYN | flow.ACK, Opening: c.opening,
		})
	}
}

// segment is the event in hand.
func (s *Source) segment(seg *flow.Segment) {
	e := &s.event
	*seg = flow.Segment{
		FiveTuple: e.Tuple, Time: s.clock.Wall(e.Time), Cookie: e.Opener.Cookie,
		Seq: e.Seq, Ack: e.Ack, Flags: e.Flags, Payload: e.Payload, Length: e.Length, Final: e.Final,
	}
	s.packets.Add(1)
	s.bytes.Add(uint64(len(e.Payload)))
	if s.conn == nil {
		return
	}
	seg.Opening = s.conn.opening
	s.conn.end(e)
	if e.Opener.Proto != flow.TCP {
		return
	}
	seg.FiveTuple = s.conn.tuple
	if e.FromServer {
		seg.FiveTuple = s.conn.tuple.Reverse()
	}
}

// redirected is where the packets go if not to where the client asked.
func redirected(asked, packets netip.AddrPort) netip.AddrPort {
	if asked == packets || asked.Addr().IsUnspecified() { // connecting to 0.0.0.0 means this host
		return netip.AddrPort{}
	}
	return packets
}
