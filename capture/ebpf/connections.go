package ebpf

import (
	"net/netip"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// maxConnections is how many connections each of two generations holds. One that is forgotten is made again from its next event, which repeats
// all that the kernel knows: only the numbers of its events are followed anew, from that one on.
const maxConnections = 1 << 13

// connection is what is kept between the events of one.
type connection struct {
	// opening is most of what a connection takes: it is nil once the connection is over, and while it is laid aside.
	opening  *flow.Opening
	tuple    flow.FiveTuple // from client to server, as the client asked
	numbers  [2]numbers     // of events, by direction
	connect  uint64
	answered bool // its SYN+ACK was given out
	aside    bool // opening is
	doubtful bool // its first bytes do not tell if it is wanted, and nobody has decided it yet
	over     [2]bool
	gap      uint32 // the round in which a number was last found missing
}

// maxOpenings is how many connections have their Opening at hand. That of others, most of which the kernel has nothing more to tell of, is made anew
// from their next event.
const maxOpenings = 1024

// connections remembers connections by socket cookie, in two generations: when the newer is full the older is dropped.
type connections struct {
	newer, older map[uint64]*connection
	describe     func(*flow.Process)
	// opened are the connections whose Opening was made last, in a ring.
	opened [maxOpenings]*connection
	hand   int
	// forgotten is when the latest of the connections that were dropped was opened, by CLOCK_MONOTONIC.
	forgotten uint64
	// gaps are the connections of which a number was found missing in this round, and those of the round before. A round ends when the ring buffer is empty.
	gaps, oldGaps []*connection
	round         uint32
}

// maxGaps ends a round, so that a ring buffer that is never empty does not make it endless.
const maxGaps = 4096

func newConnections(describe func(*flow.Process)) connections {
	return connections{newer: make(map[uint64]*connection), older: make(map[uint64]*connection), describe: describe, round: 1}
}

// find returns the connection of an event, and whether it is new. A socket that is connected once more is another connection.
func (cs *connections) find(e *bpf.Event, clock *clock) (c *connection, isNew bool) {
	o := &e.Opener
	c = cs.newer[o.Cookie]
	if c == nil {
		if c = cs.older[o.Cookie]; c != nil {
			delete(cs.older, o.Cookie)
			cs.add(o.Cookie, c)
		}
	}
	if c != nil && c.connect == o.Connected {
		if c.aside {
			cs.open(c, o, clock)
		}
		cs.update(c, e)
		return c, false
	}
	c = &connection{connect: o.Connected, doubtful: o.Reason == bpf.ByDoubt}
	cs.open(c, o, clock)
	client, server := e.Tuple.SrcIP, e.Tuple.DstIP
	clientPort, serverPort := e.Tuple.SrcPort, e.Tuple.DstPort
	if o.Connected <= cs.forgotten { // it may be one of them
		c.numbers[0].unknown, c.numbers[1].unknown = true, true
	}
	if e.FromServer {
		client, clientPort, server, serverPort = server, serverPort, client, clientPort
	}
	if asked := o.Dst.Addr(); !asked.IsUnspecified() {
		server, serverPort = o.Dst, o.DstPort
	}
	c.tuple = flow.FiveTuple{SrcIP: client, DstIP: server, SrcPort: clientPort, DstPort: serverPort, Proto: o.Proto}
	cs.update(c, e)
	cs.add(o.Cookie, c)
	return c, true
}

func (cs *connections) add(cookie uint64, c *connection) {
	if len(cs.newer) >= maxConnections {
		for _, old := range cs.older {
			cs.forgotten = max(cs.forgotten, old.connect)
		}
		cs.newer, cs.older = cs.older, cs.newer
		clear(cs.newer)
	}
	cs.newer[cookie] = c
}

// open makes the Opening, and lays another connection's aside. One that tells of a redirection is kept: not every event would.
func (cs *connections) open(c *connection, o *bpf.Opener, clock *clock) {
	op := &flow.Opening{
		Process: flow.Process{
			PID: int(o.PID), TID: int(o.TID), Comm: o.CommString(), UID: o.UID, UIDKnown: true,
			CgroupID: o.CgroupID, NetNS: o.NetNS, StartTime: o.Started,
		},
		Earlier: o.Earlier,
	}
	if !o.Earlier {
		op.Time = clock.Wall(o.Connected)
	}
	if cs.describe != nil {
		cs.describe(&op.Process)
	}
	c.opening, c.aside = op, false
	if last := cs.opened[cs.hand]; last != nil && last != c && last.opening != nil && !last.opening.RedirectedTo.IsValid() {
		last.opening, last.aside = nil, true
	}
	cs.opened[cs.hand] = c
	cs.hand = (cs.hand + 1) % maxOpenings
}

// update notes a redirection that e is the first to show. An Opening that was given out does not change: a new one takes its place.
func (cs *connections) update(c *connection, e *bpf.Event) {
	if e.FromServer || e.Opener.Proto != flow.TCP || c.opening == nil {
		return
	}
	to := redirected(netip.AddrPortFrom(e.Opener.Dst.Addr(), e.Opener.DstPort), e.Tuple.Dst())
	if to != c.opening.RedirectedTo && to.IsValid() {
		op := *c.opening
		op.RedirectedTo = to
		c.opening = &op
	}
}

// end lets go of what only a connection's first segments are for, after the last one of both directions. What comes later, a retransmission, goes without.
// A reset is not the end: the socket may ignore it (RFC 9293, Section 3.10.7.4), or have sent it about a connection of before (Section 3.5.1).
func (c *connection) end(e *bpf.Event) {
	dir := 0
	if e.FromServer {
		dir = 1
	}
	c.over[dir] = c.over[dir] || e.Final || e.Flags.Has(flow.FIN)
	if e.Opener.Proto == flow.TCP && c.over[0] && c.over[1] {
		c.opening, c.aside = nil, false
	}
}

// number notes the number of an event of c, and returns how many events are known to be lost by it.
func (cs *connections) number(c *connection, e *bpf.Event) uint64 {
	dir := 0
	if e.FromServer {
		dir = 1
	}
	lost, gap := c.numbers[dir].take(e.Number)
	if gap && c.gap != cs.round {
		if len(cs.gaps) >= maxGaps {
			lost += cs.settle()
		}
		c.gap = cs.round
		cs.gaps = append(cs.gaps, c)
	}
	return lost
}

// settle ends a round, and returns how many events are lost: what was missing in the round before has had the time between two to come.
func (cs *connections) settle() (lost uint64) {
	for i, c := range cs.oldGaps {
		if c.gap == cs.round-1 { // else more is missing, and it may come
			lost += c.numbers[0].settle() + c.numbers[1].settle()
		}
		cs.oldGaps[i] = nil
	}
	cs.oldGaps, cs.gaps = cs.gaps, cs.oldGaps[:0]
	cs.round++
	return lost
}

// settleAll is settle when nothing comes any more.
func (cs *connections) settleAll() (lost uint64) { return cs.settle() + cs.settle() }
