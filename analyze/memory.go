package analyze

import "unsafe"

// What parts of a conn take beyond what they count themselves, in bytes: the structures, and what allocation rounds up.
const (
	connSize = int(unsafe.Sizeof(conn{})) + 64
	webSize  = 1 << 10
	daxSize  = 4 << 10
	dnsSize  = 1 << 10
)

// bytes estimates what c takes.
func (c *conn) bytes() int {
	n := connSize
	for i := range c.streams {
		n += cap(c.streams[i].kept) + c.streams[i].counted
	}
	for _, l := range [...]*layer{&c.outer, &c.inner} {
		n += cap(l.held[0]) + cap(l.held[1])
		if l.tls != nil {
			n += l.tls.Bytes()
		}
		if l.http != nil {
			n += l.http.Bytes()
		}
		if l.dax != nil {
			n += daxSize
		}
		if l.dns != nil {
			n += dnsSize + l.gathered
		}
	}
	if c.web != nil {
		n += webSize
	}
	if c.settled != nil {
		n += settledSize
	}
	return n
}

// settledSize is what the facts of a handshake take, about, that wait for the end of their flow.
const settledSize = 3 << 10

// weigh keeps the sum of what conns take, and has some give way when it is too much.
func (a *Analyzer) weigh(c *conn) {
	n := c.bytes()
	a.memory += n - c.weighed
	c.weighed = n
	for a.memory > a.o.MaxMemory {
		worst := a.heaviest(func(c *conn) int { return c.weighed })
		if worst == nil {
			return
		}
		a.stats.EvictedActive++
		worst.evicted = true
		a.finish(worst)
	}
}

// relieve gives up holes when too much is held behind them.
func (a *Analyzer) relieve() {
	for a.buffered > a.o.MaxBuffered {
		worst := a.heaviest(func(c *conn) int { return c.streams[0].counted + c.streams[1].counted })
		if worst == nil {
			return
		}
		a.stats.HolesForced++
		for dir := range uint8(2) {
			if worst.inUse {
				a.drain(worst, dir, true)
			}
		}
	}
}

// heaviest picks, of the next conns in use that have any weight, the one that has most: whoever takes much gives way, not whoever comes last.
func (a *Analyzer) heaviest(weight func(*conn) int) (worst *conn) {
	most := 0
	for n := range len(a.conns) {
		if n >= 64 && worst != nil {
			break
		}
		a.hand++
		c := a.conns[a.hand%len(a.conns)]
		if w := weight(c); c.inUse && w > most {
			worst, most = c, w
		}
	}
	return worst
}
