package tlswire

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// feed runs b through the record layer.
func (c *Conn) feed(h *half, b []byte) {
	for len(b) > 0 {
		switch h.mode {
		case modeStart:
			b = c.start(h, b)
		case modeTLS:
			b = c.record(h, b)
		case modeSSL2:
			k := min(h.left, len(b))
			h.msgs.buf = append(h.msgs.buf, b[:k]...)
			h.left -= k
			h.pos += int64(k)
			b = b[k:]
			if h.left == 0 {
				c.endSSL2(h, true)
			}
		case modeResync:
			b = c.resync(h, b)
		default:
			return
		}
	}
}

// start decides by the first bytes what the stream is.
func (c *Conn) start(h *half, b []byte) (rest []byte) {
	first := b
	if h.hdrN > 0 {
		k := copy(h.hdr[h.hdrN:], b)
		first = h.hdr[:int(h.hdrN)+k]
	}
	switch Sniff(first, h.side) {
	case NeedMore: // fewer than sniffMax bytes, so all of b was taken
		h.hdrN = uint8(copy(h.hdr[:], first))
		return nil
	case No:
		h.mode, h.notTLS = modeDead, true
		return nil
	}
	c.recognise(h)
	n := copy(h.held[:], h.hdr[:h.hdrN])
	h.hdrN = 0
	h.mode = modeTLS
	if first[0]&0x80 != 0 {
		h.mode = modeSSL2
		h.left = int(be16(first) & 0x7fff)
		// The two header bytes are not part of the message.
		h.pos = 2
		if n >= 2 {
			c.feed(h, h.held[2:n])
			return b
		}
		// n is 1 here only if the caller fed a single byte before.
		return b[2-n:]
	}
	if n > 0 {
		c.feed(h, h.held[:n])
	}
	return b
}

func (c *Conn) recognise(h *half) {
	h.recognised = true
	c.dirty = true
}

// record takes bytes of one record and returns the rest.
func (c *Conn) record(h *half, b []byte) []byte {
	if h.left == 0 {
		if h.hdrN == 0 && len(b) >= recordHeader {
			c.header(h, b[:recordHeader])
			return b[recordHeader:]
		}
		k := copy(h.hdr[h.hdrN:recordHeader], b)
		h.hdrN += uint8(k)
		if h.hdrN == recordHeader {
			h.hdrN = 0
			c.header(h, h.hdr[:recordHeader])
		}
		return b[k:]
	}
	k := min(h.left, len(b))
	h.left -= k
	h.pos += int64(k)
	if h.route != routeSkip {
		c.body(h, b[:k])
	}
	return b[k:]
}

// header begins a record.
func (c *Conn) header(h *half, b []byte) {
	h.recordAt = h.pos
	typ, n := b[0], int(be16(b[3:]))
	if h.v2 && typ&0x80 != 0 && b[2] <= 8 { // SSL 2.0 goes on: CLIENT-MASTER-KEY
		h.mode = modeQuiet
		return
	}
	h.v2 = false
	if typ < recordChangeCipherSpec || typ > recordHeartbeat || b[1] != 3 || n > maxRecord {
		c.protocolError(h, h.pos, fmt.Sprintf("no record header: %x", [recordHeader]byte(b)))
		h.mode = modeDead
		h.msgs.abort(c, h.side)
		return
	}
	h.pos += recordHeader
	h.typ, h.length, h.left = typ, n, n
	h.route = routeSkip
	if h.settled { // only decryption goes on
		if typ == recordApplicationData {
			c.keepSecret(h)
		}
		c.checkQuiet(h)
		return
	}
	h.probeN = 0
	h.first, h.begun = !h.begun && !h.gap, true
	switch typ {
	case recordHandshake:
		if n == 0 {
			break
		}
		h.route = routeHandshake
		switch {
		case h.encrypted:
			h.route = routeSkip
			// After a HelloRetryRequest the second ClientHello comes in clear behind a ChangeCipherSpec, or behind early data.
			if h.side == session.Client && n > helloPrefix {
				h.route = routeProbe
			} else {
				c.encryptedHandshake(h)
			}
		case h.first || h.msgs.lost:
			h.route = routeProbe
		}
	case recordAlert:
		if n == 2 || !h.encrypted && (n == 1 || n <= 8 && n%2 == 0) {
			h.route = routeAlert
			break
		}
		h.sent |= SentEncryptedAlert
		if h.finished && h.app == 0 {
			h.alertAfter = true
		}
		c.dirty = true
	case recordChangeCipherSpec:
		h.sent |= SentChangeCipherSpec
		c.dirty = true
		// Behind a HelloRetryRequest it is only there for middleboxes (RFC 8446, Appendix D.4).
		if h.side == session.Server && c.retry != nil && !c.hello.Seen() {
			break
		}
		if h.msgs.need != 0 {
			h.msgs.abort(c, h.side)
		}
		h.ccs = h.ccs || n == 1
		h.encrypted = true
	case recordApplicationData:
		c.applicationData(h)
	}
	if h.first && typ != recordHandshake && typ != recordAlert {
		h.midstream = true
	}
	c.checkQuiet(h)
}

// applicationData notes an application data record by its header.
func (c *Conn) applicationData(h *half) {
	if h.side == session.Client && !c.hello.Seen() && c.retry == nil {
		c.early = true
	}
	h.encrypted = true
	h.sent |= SentApplicationData
	if h.app < followRecords {
		h.appLen[h.app] = uint16(h.length)
		h.appEnd[h.app] = h.pos + int64(h.length)
		h.app++
		c.dirty = true
		if h.side == session.Client && h.app == 1 {
			c.serverEnd = c.sides[session.Server].pos
		}
	}
	h.appSize += int64(h.length)
	c.keepSecret(h)
}

// keepSecret keeps the current record for decryption, if there may be secrets for it.
func (c *Conn) keepSecret(h *half) {
	// Up to TLS 1.2 application data follows an encrypted handshake record, in TLS 1.3 none exists.
	if c.secrets == nil || h.midstream || h.finished {
		return
	}
	if h.dec == nil {
		h.dec = new(decrypter)
	}
	if h.dec.begin(h.length) {
		h.route = routeSecret
	}
}

// encryptedHandshake notes that the current handshake record cannot be read.
func (c *Conn) encryptedHandshake(h *half) {
	if h.ccs && !h.finished {
		h.finished = true
		h.finishedExact = !h.posLost
		h.finishedEnd = h.recordAt + recordHeader + int64(h.length)
		c.dirty = true
	}
	h.sent |= SentEncryptedHandshake
}

// checkQuiet ends the reading of a direction once nothing more of it can change the facts. It looks at that direction alone,
// so that the facts do not depend on the order of the two.
func (c *Conn) checkQuiet(h *half) {
	h.settled = h.settled || h.finished && h.app > 0 || h.app == followRecords || h.appSize > followBytes || h.midstream && h.app > 1
	if h.settled && (h.dec == nil || !h.dec.waiting()) {
		h.mode = modeQuiet
		h.msgs = messages{lost: true}
		c.dirty = true
	}
}

// body takes bytes of the current record; h.left is already what remains after them.
func (c *Conn) body(h *half, b []byte) {
	switch h.route {
	case routeHandshake:
		h.msgs.write(c, h.side, b)
	case routeAlert:
		for _, v := range b {
			h.alert[h.alertN] = v
			h.alertN++
			if h.alertN == 2 {
				h.alertN = 0
				c.alert(h.side, h.alert[0], h.alert[1], false)
				h.sent |= SentAlert
			}
		}
	case routeProbe:
		c.probe(h, b)
	case routeSecret:
		h.dec.write(b)
		if h.left == 0 {
			h.dec.end()
			c.decrypt()
			c.checkQuiet(h)
		}
	}
}

// probe gathers the beginning of a handshake record until it is clear what to make of it.
func (c *Conn) probe(h *half, b []byte) {
	want := probeMin
	if h.encrypted {
		want = helloPrefix
	}
	want = min(want, h.length)
	var held []byte
	p := b
	if h.probeN > 0 || len(b) < want {
		k := copy(h.probe[h.probeN:want], b)
		h.probeN += uint8(k)
		if int(h.probeN) < want {
			return
		}
		held, b = h.probe[:want], b[k:]
		p = held
	}
	p = p[:want]
	ok := false
	switch {
	case h.encrypted:
		if ok = c.secondHello(p); !ok {
			c.encryptedHandshake(h)
		}
	case h.first:
		hello := p[0] == typeClientHello || p[0] == typeServerHello || p[0] == typeHelloRetryRequest
		ok = hello || plausible(p, h.length)
		if h.midstream = !hello; h.midstream && !ok {
			h.sent |= SentEncryptedHandshake
			h.msgs.lost = true
		}
	default:
		if ok = plausible(p, h.length); !ok {
			h.sent |= SentEncryptedHandshake
		}
	}
	if !ok {
		h.route = routeSkip
		return
	}
	h.route = routeHandshake
	h.msgs.lost = false
	h.msgs.buf = h.msgs.buf[:0]
	h.msgs.need, h.msgs.seen = 0, 0
	h.msgs.write(c, h.side, held)
	h.msgs.write(c, h.side, b) // all of the content, unless it had to be gathered
}

// secondHello reports whether p, the content of a handshake record from the client where only encrypted ones are expected, is a
// ClientHello in clear: the answer to a HelloRetryRequest repeats the random of the first (RFC 8446, Section 4.1.2).
func (c *Conn) secondHello(p []byte) bool {
	return c.second == nil && len(p) == helloPrefix && p[0] == typeClientHello && c.first.RandomKnown &&
		[32]byte(p[6:]) == c.first.Random
}

// protocolError notes the first error of framing or of the handshake layer of a direction.
func (c *Conn) protocolError(h *half, at int64, reason string) {
	if h.fault == nil {
		h.fault = &ProtocolError{From: h.side, Offset: at, Reason: reason}
	}
	c.dirty = true
}
