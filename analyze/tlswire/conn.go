package tlswire

import (
	"errors"
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// ErrNotTLS: the first bytes of that side are neither TLS nor SSL. Once returned for a side it is returned for ever.
var ErrNotTLS = errors.New("tlswire: not TLS")

// Options of a Conn.
type Options struct {
	// Secrets are asked for the secrets of a TLS 1.3 handshake; nil means that nothing is decrypted and nothing is kept for it.
	Secrets Secrets
}

// Conn follows both directions of one connection. It must not be copied, and is not safe for concurrent use.
//
// It needs about 2 KB, the hellos and certificates that it keeps, and while a handshake runs up to MaxMessage per direction; with
// Options.Secrets up to 64 KB per direction more until the handshake is decrypted.
type Conn struct {
	sides   [2]half
	secrets Secrets
	// keys are found secrets.
	keys *epochKeys

	first  ClientHello
	second *ClientHello // after a HelloRetryRequest
	hello  ServerHello
	retry  *ServerHello
	chain  Chain
	kex    KeyExchange

	// early: the client sent application data before any hello of the server was fed.
	early bool
	// serverEnd is how far the server had come when the client's first application data record was fed.
	serverEnd int64
	ended     bool
	// dirty: facts must be derived anew.
	dirty bool
	facts Facts
}

// maxReuse is the largest buffer that survives a Reset.
const maxReuse = 16 << 10

// New returns a Conn for a new connection.
func New(o Options) *Conn {
	c := new(Conn)
	c.Reset(o)
	return c
}

// Reset makes c as new, keeping what it has allocated. All that Facts gave out is invalid afterwards.
func (c *Conn) Reset(o Options) {
	certs, alerts := c.chain.Certificates, c.facts.Alerts
	clear(certs)
	raws := [...][]byte{c.first.raw, c.hello.raw, c.kex.raw, c.chain.raw}
	for i, raw := range raws {
		if raws[i] = raw[:0]; cap(raw) > maxReuse {
			raws[i] = nil
		}
	}
	*c = Conn{secrets: o.Secrets}
	c.sides[session.Server].side = session.Server
	c.first.raw, c.hello.raw, c.kex.raw, c.chain.raw = raws[0], raws[1], raws[2], raws[3]
	c.chain.Certificates = certs[:0]
	c.facts.Alerts = alerts[:0]
	c.facts.ClientHello, c.facts.ServerHello = &c.first, &c.hello
	c.facts.Chain, c.facts.KeyExchange = &c.chain, &c.kex
}

// Feed takes the next bytes of one direction. data is not kept. The error is nil or ErrNotTLS; faults that come later are Facts.
func (c *Conn) Feed(from session.Side, data []byte) error {
	h := &c.sides[from&1]
	if h.over() {
		if h.notTLS {
			return ErrNotTLS
		}
		return nil
	}
	c.feed(h, data)
	if c.dirty && c.secrets != nil {
		c.decrypt() // a hello of this side may be what the other waits for
	}
	if h.notTLS {
		c.dirty = true
		return ErrNotTLS
	}
	return nil
}

// Gap tells that n bytes of a direction are missing between what was fed and what will be fed; n < 0 if nobody knows how many.
func (c *Conn) Gap(from session.Side, n int) { c.gap(&c.sides[from&1], n) }

// Close tells that a direction has ended by FIN, or by RST if rst is set. What is fed of it afterwards is ignored.
func (c *Conn) Close(from session.Side, rst bool) {
	h := &c.sides[from&1]
	if h.closed {
		return
	}
	h.closed = true
	c.facts.Closed[h.side] = true
	c.facts.Reset[h.side] = rst
	c.stop(h)
}

// End tells that no more bytes of either direction will come, without a FIN: the capture ended, or the flow was evicted.
// Messages that are not whole are read as far as they go.
func (c *Conn) End() {
	c.ended = true
	c.stop(&c.sides[session.Client])
	c.stop(&c.sides[session.Server])
}

// stop ends a direction.
func (c *Conn) stop(h *half) {
	c.dirty = true
	if !h.over() {
		if h.mode == modeSSL2 {
			c.endSSL2(h, false)
		}
		if h.mode == modeTLS && h.left > 0 && h.route == routeProbe && !h.encrypted {
			// The record is cut so early that only its first bytes say what it is.
			if p := h.probe[:h.probeN]; h.first && len(p) >= 4 && (p[0] == typeClientHello || p[0] == typeServerHello) ||
				plausible(p, h.length) {
				h.msgs.lost = false
				h.msgs.write(c, h.side, p)
			}
		}
		h.msgs.abort(c, h.side)
		h.mode = modeQuiet
	}
	c.decrypt()
}

// Retry asks the Secrets again, for encrypted records that wait. Feed and Close do so by themselves.
func (c *Conn) Retry() { c.decrypt() }

// Wanted reports whether more bytes of that direction could change the facts. Once false it stays false.
func (c *Conn) Wanted(from session.Side) bool { return !c.sides[from&1].over() }

// Settled reports whether more bytes of that direction could change the facts only by being decrypted. Once true it stays true.
func (c *Conn) Settled(from session.Side) bool {
	h := &c.sides[from&1]
	return h.over() || h.settled
}

// Bytes estimates the memory that c holds, in bytes.
func (c *Conn) Bytes() int {
	n := connSize + cap(c.first.raw) + cap(c.hello.raw) + cap(c.chain.raw) + cap(c.kex.raw)
	for i := range c.sides {
		h := &c.sides[i]
		n += cap(h.msgs.buf)
		if h.dec != nil {
			n += cap(h.dec.pend) + cap(h.dec.msgs.buf)
		}
	}
	if c.second != nil {
		n += cap(c.second.raw)
	}
	if c.retry != nil {
		n += cap(c.retry.raw)
	}
	return n
}

// String hides everything: a Conn may hold traffic secrets.
func (c *Conn) String() string { return "tlswire.Conn" }

// GoString is String.
func (c *Conn) GoString() string { return c.String() }

// wants implements sink for the messages in clear.
func (c *Conn) wants(from session.Side, typ uint8) bool {
	if from == session.Client {
		return typ == typeClientHello || typ == typeCertificate
	}
	switch typ {
	case typeServerHello, typeHelloRetryRequest, typeCertificate, typeServerKeyExchange, typeNewSessionTicket:
		return true
	}
	return false
}

// message implements sink for the messages in clear.
func (c *Conn) message(from session.Side, msg []byte, whole bool) {
	c.dirty = true
	h := &c.sides[from]
	h.sent |= sentOf(msg[0])
	if from == session.Client {
		switch msg[0] {
		case typeClientHello:
			c.clientHello(msg, whole)
		case typeServerHello:
			c.facts.RolesReversed = true
		case typeCertificate:
			c.facts.ClientChainLength = countCertificates(msg[4:], false)
		}
		return
	}
	switch msg[0] {
	case typeClientHello:
		c.facts.RolesReversed = true
	case typeServerHello, typeHelloRetryRequest:
		c.serverHello(h, msg, whole)
	case typeCertificate:
		if c.chain.State == Absent {
			c.chain.raw = append(c.chain.raw[:0], msg[4:]...)
			c.chain.parse(c.chain.raw, whole, false)
		}
	case typeServerKeyExchange:
		if c.kex.State == Absent {
			c.kex.raw = append(c.kex.raw[:0], msg[4:]...)
			if !whole {
				c.kex.State = Partial
				break
			}
			version := c.hello.Version
			if version == 0 { // lost; by far the likeliest, and the form has to fit
				version = session.TLS12
			}
			c.kex.parse(c.hello.Suite, c.hello.SuiteKnown, version)
		}
	case typeNewSessionTicket: // RFC 5077, Section 3.3: lifetime hint, ticket
		r := cursor{b: msg[4:]}
		lifetime := r.u32()
		ticket := r.vec16()
		if whole && !r.short && len(ticket) > 0 {
			c.facts.addTicket(ticket, lifetime)
		}
	}
}

func (c *Conn) clientHello(msg []byte, whole bool) {
	hello := &c.first
	if c.first.Seen() {
		if c.second != nil {
			return
		}
		hello = new(ClientHello)
	}
	hello.raw = append(hello.raw[:0], msg...)
	hello.parse(whole)
	// A second hello counts only if it belongs to the first: a HelloRetryRequest leaves the random as it is.
	if hello != &c.first && (!hello.RandomKnown || !c.first.RandomKnown || hello.Random == c.first.Random) {
		c.second = hello
	}
}

func (c *Conn) serverHello(h *half, msg []byte, whole bool) {
	if c.hello.Seen() {
		return
	}
	c.hello.raw = append(c.hello.raw[:0], msg...)
	c.hello.parse(whole)
	if c.hello.RetryRequest {
		if c.retry == nil {
			c.retry = new(ServerHello)
			*c.retry = c.hello
		}
		c.hello = ServerHello{}
		return
	}
	if c.hello.Version.Is13() {
		// Everything that follows is encrypted. What claims to be in clear is not the server's.
		h.msgs.dead = true
		h.encrypted = true
	}
}

// badType implements sink.
func (c *Conn) badType(from session.Side, typ uint8) {
	h := &c.sides[from]
	c.protocolError(h, h.recordAt, fmt.Sprintf("unknown handshake message type %d", typ))
}

// alert notes an alert (RFC 8446, Section 6).
func (c *Conn) alert(from session.Side, level, code uint8, decrypted bool) {
	h := &c.sides[from]
	if level != 1 && level != 2 || h.alerts >= maxAlerts {
		return
	}
	h.alerts++
	c.facts.Alerts = append(c.facts.Alerts, session.Alert{
		From: from, Fatal: level == 2, Code: code, Description: AlertName(code), Decrypted: decrypted,
	})
	c.dirty = true
}

// maxAlerts is the number of alerts that are kept of each side.
const maxAlerts = 4
