package tlswire

import (
	"github.com/dynwatch/dynwatch/analyze/session"
)

// SSL 2.0 message types (draft-hickman-netscape-ssl-00, Section 5).
const (
	ssl2ClientHello = 1
	ssl2ServerHello = 4
)

// SSL2 is what an SSL 2.0 SERVER-HELLO tells; the certificate in it is in Facts.Chain.
type SSL2 struct {
	State State
	// Kinds are the cipher kinds that the server accepts, three bytes each. The client chooses one of them later, in clear, but no
	// two tools agree on reporting it, so the list stands for the session.
	Kinds []uint32
	// SessionIDHit: the server found the client's session, so there is neither certificate nor list.
	SessionIDHit bool
	ConnectionID []byte
}

// endSSL2 reads the SSL 2.0 record in h.msgs.buf.
func (c *Conn) endSSL2(h *half, whole bool) {
	msg := h.msgs.buf
	if h.side == session.Client {
		c.first.parseSSL2(msg, whole)
		h.sent |= SentClientHello
		// An SSL 3.0 or TLS handshake goes on with ordinary records; only the next bytes tell.
		h.mode, h.v2 = modeTLS, true
	} else {
		c.parseSSL2ServerHello(msg, whole)
		h.sent |= SentServerHello
		h.mode = modeQuiet
	}
	h.msgs.buf, h.msgs.hole = nil, false
	c.dirty = true
}

// parseSSL2 reads a CLIENT-HELLO in SSL 2.0 format (RFC 5246, Appendix E.2).
func (h *ClientHello) parseSSL2(msg []byte, whole bool) {
	*h = ClientHello{raw: append(h.raw[:0], msg...), V2Format: true, State: Partial}
	if whole {
		h.State = Complete
	}
	c := cursor{b: h.raw}
	fail := func(field string) {
		if whole {
			h.State = Unreadable
			h.Err = &readError{"CLIENT-HELLO (SSL 2.0)", field, len(h.raw) - len(c.b), c.short}
		}
	}
	c.u8() // type, which Sniff has checked
	v := session.Version(c.u16())
	if c.short {
		fail("version")
		return
	}
	h.LegacyVersion = v
	specs, id, challenge := int(c.u16()), int(c.u16()), int(c.u16())
	if c.short {
		fail("lengths")
		return
	}
	h.OfferedMax = v // there are no extensions that could say otherwise
	suites := c.take(specs)
	if c.short {
		fail("cipher_specs")
		return
	}
	h.suites, h.SuitesKnown = spanOf(h.raw, suites), true
	for b := suites; len(b) >= 3; b = b[3:] {
		if b[0] == 0 {
			h.scanSuites(b[1:3])
		}
	}
	sid := c.take(id)
	if c.short {
		fail("session_id")
		return
	}
	h.sessionID = spanOf(h.raw, sid)
	ch := c.take(challenge)
	if c.short || len(ch) > 32 {
		fail("challenge")
		return
	}
	copy(h.Random[32-len(ch):], ch)
	h.RandomKnown = true
	h.ExtensionsKnown = whole
}

// parseSSL2ServerHello reads a SERVER-HELLO of SSL 2.0.
func (c *Conn) parseSSL2ServerHello(msg []byte, whole bool) {
	s := &SSL2{State: Partial}
	if whole {
		s.State = Unreadable
	}
	c.facts.SSL2 = s
	r := cursor{b: msg}
	r.u8()
	hit := r.u8()
	r.u8() // certificate type: X.509 is the only one there is
	r.u16()
	certLen, specsLen, idLen := int(r.u16()), int(r.u16()), int(r.u16())
	if r.short {
		return
	}
	s.SessionIDHit = hit != 0
	if certLen > 0 {
		c.chain.raw = append([]byte(nil), r.b[:min(certLen, len(r.b))]...)
		c.chain.Count = 1
		if certLen > len(r.b) {
			c.chain.State, c.chain.PartialCert, c.chain.PartialLength = Partial, c.chain.raw, certLen
			if whole {
				c.chain.State = Unreadable
			}
			return
		}
		c.chain.State = Complete
		c.chain.Certificates = append(c.chain.Certificates[:0], c.chain.raw)
	}
	r.take(certLen)
	s.Kinds = ssl2Kinds(r.take(specsLen))
	id := r.take(idLen)
	if !r.short {
		s.ConnectionID = append([]byte(nil), id...)
		s.State = Complete
	}
}

// ssl2Kinds lists the cipher kinds that are not those of TLS.
func ssl2Kinds(b []byte) []uint32 {
	var l []uint32
	for ; len(b) >= 3; b = b[3:] {
		if b[0] != 0 {
			l = append(l, uint32(be24(b)))
		}
	}
	return l
}
