package analyze

import (
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
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
	weighed   int    // what the analyzer has counted of its bytes
	order     uint64 // counts activations of conns
	serial    uint32 // counts the uses of this conn
	inUse     bool
	dismissed bool // none of ours: nothing is put out
	evicted   bool

	key         flowKey
	start, last int64
	now         int64 // time of the packet in hand
	heard       int64 // the same by the time that flows grow old by, which live is not that of packets

	// client is the direction in which the opener sends; clientKnown tells if that is more than a guess.
	client      uint8
	clientKnown bool
	midstream   bool // no SYN of either side

	streams [2]stream
	outer   layer
	inner   layer // what runs inside a CONNECT tunnel
	// tunnelled: bytes of that direction belong to the inner layer.
	tunnelled [2]bool
	// relayed: what was recognised began behind bytes of another protocol, such as SOCKS or STARTTLS, or behind bytes that were not captured, among
	// which a CONNECT may be. socks: they were SOCKS.
	relayed, socks bool
	flipped        bool // the client was taken for the server, and what hangs on that must be looked up again

	endSeen  bool  // a FIN or RST of either side
	endDir   uint8 // who sent the first
	endRST   bool
	deadline int64 // when the ended conn is finished, 0 if it is not queued for that

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
	// forwardCredentials: a request to be forwarded bore a proxy's credentials.
	forwardCredentials bool
	following          bool // counted as a cleartext HTTP flow that is read on
	handshakeDone      int64
	kin                *kin             // to judge a resumption by
	settled            *session.Session // the handshake's facts, once nothing more can change them
	opening            *flow.Opening    // who opened it, where the source knows
	cookie             uint64           // of the socket, where the source knows it
	reported           *session.Session // what was put out while the flow went on
	awaits             int64            // since when only the secrets of its handshake are missing, 0 if they are not
	concluding         bool
}

// begin makes c the reader of a slot's flow.
func (c *conn) begin(a *Analyzer, s *slot) {
	index, serial := c.index, c.serial
	*c = conn{index: index, serial: serial + 1, heapIndex: -1, inUse: true, key: s.key, start: s.start, last: s.start, now: s.start, heard: a.now}
	for dir := range uint8(2) {
		st := &c.streams[dir]
		st.seen = s.sent(dir)
		if s.sawSyn(dir) {
			st.sync(s.isn(dir)+1, true)
			if s.ackedSyn(dir) {
				st.acked, st.ackedSeen = st.next, true
			}
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

// tls is the reader of the flow's TLS, that inside a tunnel if there are two; nil if there is none.
func (c *conn) tls() *tlswire.Conn {
	if c.inner.tls != nil {
		return c.inner.tls
	}
	return c.outer.tls
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

// tuple is the five-tuple of a packet in direction dir.
func (c *conn) tuple(dir uint8) flow.FiveTuple {
	t := flow.FiveTuple{SrcIP: c.key.a, DstIP: c.key.b, SrcPort: c.key.pa, DstPort: c.key.pb, Proto: flow.TCP}
	if dir == 1 {
		return t.Reverse()
	}
	return t
}

// release frees everything that c holds.
func (c *conn) release(a *Analyzer) {
	for i := range c.streams {
		a.putKept(&c.streams[i])
		c.streams[i].release()
		a.recount(&c.streams[i])
	}
	for _, l := range [...]*layer{&c.outer, &c.inner} {
		if l.tls != nil {
			if f := l.tls.Facts(); c.opening != nil && f.ClientHello.RandomKnown {
				a.libraries.forget(f.ClientHello.Random, c.opening.Process.PID)
			}
			a.putTLS(l.tls)
		}
		if l.http != nil {
			a.putHTTP(l.http)
		}
	}
	a.memory -= c.weighed
	index, serial := c.index, c.serial
	*c = conn{index: index, serial: serial, heapIndex: -1}
}
