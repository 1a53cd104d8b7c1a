package analyze

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/analyze/daxwire"
	"github.com/dynwatch/dynwatch/analyze/dnswire"
	"github.com/dynwatch/dynwatch/analyze/httpwire"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// Bounds of looking for a beginning.
const (
	// maxHeld is the most first bytes that wait for more because they are too few to recognise: a PROXY protocol header, and a request line.
	maxHeld = proxyV2Max + 1<<10
	// maxWatched is how many segments of a flow that was not recognised are looked at for a late TLS hello (STARTTLS, SOCKS, a proxy's
	// own greeting), in both directions together.
	maxWatched = 64
	// daxPort and dnsPort are where those protocols live (AWS DAX developer guide; RFC 1035).
	daxPort = 8111
	dnsPort = 53
)

// layer is what one level of a flow's bytes was recognised as: the flow itself, or what runs inside a CONNECT tunnel.
type layer struct {
	phase phase
	tls   *tlswire.Conn
	http  *httpwire.Conn
	dax   *daxwire.Reader
	dns   *dnswire.Stream // of the resolver's side
	// gathered is how much of dns's incomplete message was fed.
	gathered int
	held     [2][]byte // first bytes that are too few to recognise
	offset   [2]int64  // bytes consumed before it was recognised
	// greeting is the length of a PROXY protocol header before the first bytes, 0 if there is none.
	greeting [2]int
	watched  int
}

// consume takes the next bytes of a direction, in order.
func (a *Analyzer) consume(c *conn, dir uint8, data []byte) {
	if a.tap != nil {
		a.tap(dir, data, 0)
		return
	}
	l := &c.outer
	if c.tunnelled[dir] {
		l = &c.inner
	}
	a.consumeLayer(c, l, dir, data)
}

func (a *Analyzer) consumeLayer(c *conn, l *layer, dir uint8, data []byte) {
	switch l.phase {
	case phaseNew, phaseWatch:
		a.recognise(c, l, dir, data)
	case phaseTLS:
		a.feedTLS(c, l, dir, data)
	case phaseHTTP:
		a.feedHTTP(c, l, dir, data)
	case phaseDAX:
		a.feedDAX(c, l, dir, data)
	case phaseDNS:
		a.feedDNS(c, l, dir, data)
	}
}

// consumeGap tells of missing bytes and returns how many of them had to be read.
func (a *Analyzer) consumeGap(c *conn, dir uint8, n int) (lost int) {
	if a.tap != nil {
		a.tap(dir, nil, n)
		return n
	}
	l := &c.outer
	if c.tunnelled[dir] {
		l = &c.inner
	}
	side := c.side(dir)
	switch l.phase {
	case phaseTLS:
		l.tls.Gap(side, n)
		a.afterTLS(c, l)
	case phaseHTTP:
		if skip := min(l.http.Skippable(side), int64(n)); skip > 0 {
			l.http.Skip(side, skip)
			n -= int(skip)
		}
		if n > 0 {
			l.http.Gap(side, n)
		}
	case phaseDAX:
		l.phase = phaseOpaque
		a.stopReading(c, dir)
	case phaseDNS:
		l.dns.Gap()
		a.stopReading(c, dir)
	case phaseNew, phaseWatch:
		l.offset[dir] += int64(len(l.held[dir]) + n)
		l.held[dir] = nil
	case phaseOpaque:
		return 0
	}
	return n
}

// recognise looks at bytes of a flow that nobody has recognised yet: at the first ones for any protocol, at the beginnings of later
// segments for a TLS hello or a cleartext HTTP request.
func (a *Analyzer) recognise(c *conn, l *layer, dir uint8, data []byte) {
	first := l.offset[dir] == 0
	b := data
	if len(l.held[dir]) > 0 {
		b = append(l.held[dir], data...)
	}
	what, more := c.sniff(l, dir, b, first)
	if what == phaseNew && more && len(b) < maxHeld {
		if len(l.held[dir]) > 0 {
			l.held[dir] = b
		} else {
			l.held[dir] = append([]byte(nil), b...)
		}
		return
	}
	l.held[dir] = nil
	if what != phaseNew {
		a.begin(c, l, what, dir, b)
		return
	}
	if l == &c.outer && c.side(dir) == session.Client {
		c.watchSOCKS(first, b)
	}
	l.offset[dir] += int64(len(b))
	l.phase = phaseWatch
	if l.watched++; l.watched > maxWatched {
		a.unrecognised(c, l)
	}
}

// sniff says what b, sent in direction dir, begins. more tells that it may be something, but is too short to say.
func (c *conn) sniff(l *layer, dir uint8, b []byte, first bool) (what phase, more bool) {
	side := c.side(dir)
	if !first {
		// In the middle of an unknown stream only what cannot be mistaken counts.
		if tlsHello(b) {
			c.adoptRole(dir, b)
			return phaseTLS, false
		}
		if (c.midstream || c.socks && side == session.Client) && httpwire.Sniff(b, session.Client) == httpwire.Yes {
			return phaseHTTP, false
		}
		return phaseNew, false
	}
	_, serverPort := c.server()
	if l == &c.outer && serverPort == dnsPort && !tlsHello(b) {
		return phaseDNS, false
	}
	if l == &c.outer {
		n, incomplete := proxyHeader(b)
		if incomplete || n > 0 && n == len(b) {
			return phaseNew, true
		}
		l.greeting[dir] = n
		b = b[n:]
	}
	sides := [2]session.Side{side, side.Peer()}
	n := 1
	if !c.clientKnown {
		n = 2 // who opened the flow is a guess: try both
	}
	for _, s := range sides[:n] {
		switch tlswire.Sniff(b, s) {
		case tlswire.Yes:
			if role, ok := tlswire.SniffRole(b); ok {
				if role != side {
					c.flip(dir, role)
				}
			} else if s != side {
				c.flip(dir, s)
			}
			return phaseTLS, false
		case tlswire.NeedMore:
			more = true
		}
		switch httpwire.Sniff(b, s) {
		case httpwire.Yes:
			if s != side {
				c.flip(dir, s)
			}
			return phaseHTTP, false
		case httpwire.NeedMore:
			more = true
		}
	}
	if side == session.Client && (serverPort == daxPort || c.byAddr) {
		switch daxwire.Sniff(b) {
		case daxwire.Yes:
			return phaseDAX, false
		case daxwire.NeedMore:
			more = true
		}
	}
	return phaseNew, more
}

// adoptRole makes the sender of a hello the side that the hello says: after STARTTLS the TLS client may be the TCP server.
func (c *conn) adoptRole(dir uint8, b []byte) {
	if role, ok := tlswire.SniffRole(b); ok && role != c.side(dir) {
		c.flip(dir, role)
	}
}

// flip makes direction dir that of side s.
func (c *conn) flip(dir uint8, s session.Side) {
	if s == session.Client {
		c.client = dir
	} else {
		c.client = 1 - dir
	}
	c.clientKnown, c.flipped = true, true
}

// tlsHello reports whether b begins with a TLS record that holds the head of a ClientHello or ServerHello. It is strict, because it is
// asked in the middle of streams: type and version of the record, type and length of the message, and the hello's version must agree.
func tlsHello(b []byte) bool {
	const recordHeader, helloHead = 5, 6
	if len(b) < recordHeader+helloHead || b[0] != 22 || b[1] != 3 || b[2] > 4 || b[5] != 1 && b[5] != 2 || b[6] != 0 || b[9] != 3 || b[10] > 4 {
		return false
	}
	record, message := int(binary.BigEndian.Uint16(b[3:])), int(binary.BigEndian.Uint16(b[7:]))
	return record >= 40 && record <= 1<<14 && message >= 38 && message+4 <= record+1<<12
}

// begin starts reading a recognised layer at its first bytes b.
func (a *Analyzer) begin(c *conn, l *layer, what phase, dir uint8, b []byte) {
	l.phase = what
	if l == &c.outer && (c.midstream || !c.streams[dir].fromSyn || l.offset != [2]int64{}) { // without a SYN, what came first was perhaps not captured
		c.relayed = true
	}
	lost := c.midstream || l.offset[dir] > 0
	if n := l.greeting[dir]; n > 0 && l.offset[dir] == 0 {
		l.offset[dir] += int64(n)
		b = b[n:]
	}
	if c.flipped {
		c.flipped = false
		c.lookUpServer(a)
	}
	switch what {
	case phaseTLS:
		l.tls = a.takeTLS()
	case phaseHTTP:
		l.http = a.takeHTTP(httpwire.Options{Tables: a.o.Tables, Midstream: lost})
		a.followHTTP(c)
	case phaseDAX:
		l.dax = new(daxwire.Reader)
		a.stopReading(c, 1-c.client)
	case phaseDNS:
		l.dns = new(dnswire.Stream)
		a.stopReading(c, c.client)
	}
	// What the other side said before, too little to be recognised alone, is part of it.
	other := l.held[1-dir]
	l.held[1-dir] = nil
	if n, incomplete := proxyHeader(other); l == &c.outer && n > 0 && !incomplete {
		l.offset[1-dir] += int64(n)
		other = other[n:]
	}
	a.consumeLayer(c, l, dir, b)
	if c.inUse && len(other) > 0 && !c.streams[1-dir].unwanted {
		a.consumeLayer(c, l, 1-dir, other)
	}
}

// unrecognised ends the reading of a layer that nobody knows.
func (a *Analyzer) unrecognised(c *conn, l *layer) {
	l.phase = phaseOpaque
	if !c.byAddr && !c.ours {
		a.ignore(c)
		return
	}
	a.stopReading(c, 0)
	a.stopReading(c, 1)
}
