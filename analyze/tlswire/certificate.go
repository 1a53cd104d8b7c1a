package tlswire

// MaxMessage is the largest handshake message that is kept, header included; of a larger one its beginning is. It bounds every
// buffer of a direction. The longest chain of a public server seen has 40 KB; one test server's leaf has 340 KB.
const MaxMessage = 384 << 10

// MaxChain is the number of certificates that are kept of one message.
const MaxChain = 64

// Chain is the server's certificate chain as sent.
type Chain struct {
	// State is Partial when the Certificate message was begun but bytes of it are missing.
	State State
	// Err says why it is Unreadable; ErrUnsupported is in it for a compression (RFC 8879) that cannot be undone here.
	Err error
	// Decrypted: it came encrypted and was read with secrets.
	Decrypted bool
	// Certificates are the whole ones in DER as sent, leaf first; at most MaxChain. Valid until the Conn is Reset.
	Certificates [][]byte
	// Count is the number of certificates announced, as far as the message could be read.
	Count int
	// PartialCert is what is there of the first certificate that is not whole (its index is len(Certificates)), and PartialLength
	// its announced length; nil and 0 if there is none. An issuer DN usually stands in the first 200 bytes.
	PartialCert   []byte
	PartialLength int

	raw []byte
}

// parse reads the body of a Certificate message from ch.raw, which must not be changed afterwards. In TLS 1.3 there is a
// context before the list and a block of extensions after each certificate (RFC 8446, Section 4.4.2).
func (ch *Chain) parse(body []byte, whole, tls13 bool) {
	*ch = Chain{State: Partial, Certificates: ch.Certificates[:0], raw: ch.raw}
	if whole {
		ch.State = Complete
	}
	c := cursor{b: body}
	fail := func(field string, short bool) {
		if whole {
			ch.State = Unreadable
			ch.Err = &readError{"Certificate", field, len(body) - len(c.b), short}
		}
	}
	if tls13 {
		c.vec8()
	}
	n := c.u24()
	if c.short {
		fail("certificate_list length", true)
		return
	}
	if n > len(c.b) && whole {
		fail("certificate_list", true) // the certificates that fit are still worth having
	} else if n < len(c.b) {
		c.b = c.b[:n]
	}
	for len(c.b) > 0 {
		size := c.u24()
		if c.short {
			fail("certificate length", true)
			return
		}
		if size > len(c.b) {
			ch.PartialCert, ch.PartialLength = c.b[:len(c.b):len(c.b)], size
			ch.Count++
			fail("certificate", true)
			return
		}
		if len(ch.Certificates) < MaxChain {
			der := c.take(size)
			ch.Certificates = append(ch.Certificates, der[:size:size])
		} else {
			c.take(size)
		}
		ch.Count++
		if tls13 {
			if c.vec16(); c.short {
				fail("certificate extensions", true)
				return
			}
		}
	}
}

// countCertificates is Chain.Count for a chain that nobody keeps.
func countCertificates(body []byte, tls13 bool) int {
	c := cursor{b: body}
	if tls13 {
		c.vec8()
	}
	c = cursor{b: c.vec24()}
	n := 0
	for len(c.b) > 0 {
		c.vec24()
		if tls13 {
			c.vec16()
		}
		if c.short {
			break
		}
		n++
	}
	return n
}
