package tlswire

import (
	"crypto/cipher"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxPending bounds the encrypted bytes of a direction that wait for secrets.
const maxPending = 64 << 10

// DecryptState is how far the encrypted handshake of one direction was read.
type DecryptState uint8

// The states.
const (
	DecryptNone     DecryptState = iota // nothing to decrypt was seen, or Options.Secrets is nil
	DecryptWaiting                      // records wait for a hello or for secrets
	DecryptReading                      // some records were read
	DecryptFinished                     // the handshake was read up to the Finished, or up to an alert
	DecryptFailed                       // the secrets do not fit, or a record is damaged
	DecryptLost                         // a hole, or more bytes than are kept, came before the end
	DecryptNever                        // not TLS 1.3, or a suite that is not known here
)

// Decryption tells by side how far secrets got. Facts.Chain.Decrypted says whether the certificate was reached.
type Decryption struct {
	State [2]DecryptState
}

// CertificateVerify is the server's proof in TLS 1.3 that it holds the leaf's key (RFC 8446, Section 4.4.3).
type CertificateVerify struct {
	Scheme    uint16
	Signature []byte
	// Signed is what the signature is made over; nil if a message before it is missing. Valid until the Conn is Reset.
	Signed []byte
}

type phase uint8

const (
	phaseHandshake phase = iota
	phaseTraffic
)

// decrypter decrypts one direction of TLS 1.3 from its first encrypted record (RFC 8446, Section 5.2).
type decrypter struct {
	// pend holds records that were not processed: length (2 bytes), mark (1), body. open is where the unfinished one begins, plus one.
	pend   []byte
	open   int
	broken bool // the record in progress has a hole
	full   bool // a record did not fit any more
	done   bool
	state  DecryptState

	phase phase
	aead  cipher.AEAD // nil until there is a secret for the phase
	iv    [12]byte
	seq   uint64
	msgs  messages
	// index counts the records processed; finishedAt is the index of the one with the Finished, if exact.
	index, finishedAt int
	exact             bool
}

// Marks of a record in pend.
const (
	markWhole  = iota
	markBroken // bytes of it are missing, but the next record follows it
	markLost   // an unknown number of records is missing
)

// begin starts a record of that length; false if it is not to be kept.
func (d *decrypter) begin(length int) bool {
	if d.done || d.full {
		return false
	}
	if len(d.pend)+3+length > maxPending {
		d.full = true
		return false
	}
	d.open = len(d.pend) + 1
	d.pend = append(d.pend, 0, 0, markWhole)
	return true
}

func (d *decrypter) write(b []byte) {
	if d.open > 0 {
		d.pend = append(d.pend, b...)
	}
}

func (d *decrypter) end() {
	if d.open == 0 {
		return
	}
	at := d.open - 1
	n := len(d.pend) - at - 3
	d.pend[at], d.pend[at+1] = byte(n>>8), byte(n)
	if d.broken {
		d.pend[at+2] = markBroken
	}
	d.open, d.broken = 0, false
}

// lose notes that the sequence of records is broken.
func (d *decrypter) lose() {
	if d.open > 0 {
		d.pend = d.pend[:d.open-1]
		d.open, d.broken = 0, false
	}
	if !d.done && !d.full {
		d.pend = append(d.pend, 0, 0, markLost)
		d.full = true
	}
}

// waiting reports whether more records are of use.
func (d *decrypter) waiting() bool { return !d.done && !d.full }

// finish ends the work and forgets key and records.
func (d *decrypter) finish(state DecryptState) {
	if d.state != DecryptFinished {
		d.state = state
	}
	*d = decrypter{done: true, state: d.state, index: d.index, finishedAt: d.finishedAt, exact: d.exact}
}

// decrypt processes what waits, as far as hellos and secrets allow.
func (c *Conn) decrypt() {
	if c.secrets == nil {
		return
	}
	for i := range c.sides {
		h := &c.sides[i]
		d := h.dec
		if d == nil || d.done {
			continue
		}
		c.dirty = true
		if d.state == DecryptNone {
			d.state = DecryptWaiting
		}
		if c.hello.Version != 0 && c.hello.SuiteKnown && !decryptable(c.hello.Version, c.hello.Suite) || c.facts.SSL2 != nil {
			d.finish(DecryptNever)
			continue
		}
		if c.hello.Version == 0 || !c.hello.SuiteKnown || !c.first.RandomKnown {
			continue
		}
		if c.retry != nil && c.second == nil && !c.sides[session.Client].over() {
			continue // the second hello is part of what is signed
		}
		c.drain(h, d)
	}
}

// decryptable reports whether records of that version and suite can be decrypted here. Before draft 25 the record header was
// not authenticated; nobody needs those.
func decryptable(v session.Version, suite uint16) bool {
	return suite >= 0x1301 && suite <= 0x1305 && (v == session.TLS13 || v >= 0x7f19 && v <= 0x7f1c || v == 0xfb1a)
}

// drain processes the waiting records of one direction.
func (c *Conn) drain(h *half, d *decrypter) {
	end := len(d.pend)
	if d.open > 0 {
		end = d.open - 1
	}
	at := 0
	for at < end && !d.done {
		n, mark := int(be16(d.pend[at:])), d.pend[at+2]
		if mark == markLost {
			d.finish(DecryptLost)
			break
		}
		if d.aead == nil && !c.setKey(h.side, d) {
			break
		}
		body := d.pend[at+3 : at+3+n]
		at += 3 + n
		if mark == markBroken {
			d.seq++
			d.index++
			d.msgs.abort((*secretSink)(c), h.side)
			continue
		}
		c.open(h, d, body)
	}
	if d.done {
		return
	}
	if at > 0 {
		d.pend = d.pend[:copy(d.pend, d.pend[at:])]
		if d.open > 0 {
			d.open -= at
		}
	}
	if d.full && len(d.pend) == 0 {
		d.finish(DecryptLost)
	}
}

// setKey makes the key of the current phase, if its secret is known by now (RFC 8446, Section 7.3).
func (c *Conn) setKey(side session.Side, d *decrypter) bool {
	k := c.keys
	if k == nil {
		k = newEpochKeys(c.hello.Suite)
	}
	secret := k.secretOf(side, d.phase)
	if !secret.Known() {
		s, ok := c.secrets.Lookup(c.first.Random)
		if !ok {
			return false
		}
		k.secrets = *s
		if c.keys == nil {
			c.keys = k
			c.startTranscript()
		}
		if !secret.Known() {
			return false
		}
	}
	if int(secret.n) != k.hash.Size() {
		d.finish(DecryptFailed)
		return false
	}
	key, err := expandLabel(k.hash, secret.bytes(), "key", k.keyLen)
	if err != nil {
		d.finish(DecryptFailed)
		return false
	}
	iv, err := expandLabel(k.hash, secret.bytes(), "iv", len(d.iv))
	if err != nil {
		d.finish(DecryptFailed)
		return false
	}
	aead, err := k.newAEAD(key)
	clear(key)
	if err != nil {
		d.finish(DecryptFailed)
		return false
	}
	d.aead, d.seq = aead, 0
	copy(d.iv[:], iv)
	return true
}

// open decrypts one record and hands out what is in it.
func (c *Conn) open(h *half, d *decrypter, body []byte) {
	tag := c.keys.tagLen
	if d.phase == phaseTraffic && h.side == session.Client && len(body) != 2+1+tag {
		// Only alerts matter now, and application data has begun, or the keys change.
		d.finish(DecryptFinished)
		return
	}
	nonce := d.iv
	for i := range 8 {
		nonce[4+i] ^= byte(d.seq >> (56 - 8*i))
	}
	aad := [recordHeader]byte{recordApplicationData, 3, 3, byte(len(body) >> 8), byte(len(body))}
	plain, err := d.aead.Open(nil, nonce[:], body, aad[:])
	if err != nil {
		switch {
		case d.phase == phaseHandshake && h.side == session.Client && d.seq == 0 && c.first.EarlyData:
			d.index++ // early data, under a key of its own
		case d.phase == phaseTraffic:
			d.finish(DecryptFinished)
		default:
			d.finish(DecryptFailed)
		}
		return
	}
	defer clear(plain)
	d.seq++
	if d.state == DecryptWaiting {
		d.state = DecryptReading
	}
	typ, content := innerType(plain)
	now := d.phase
	switch typ {
	case recordHandshake:
		d.msgs.write((*secretSink)(c), h.side, content)
		if len(d.msgs.buf) == 0 && d.msgs.dead {
			d.finish(DecryptFailed)
		}
	case recordAlert:
		if len(content) == 2 {
			h.sent |= SentAlert
			c.alert(h.side, content[0], content[1], true)
		}
		d.finish(DecryptFinished)
	default:
		d.finish(DecryptFinished)
	}
	if !d.done && d.phase != now {
		d.finishedAt, d.exact = d.index, true
		d.state = DecryptFinished
		d.aead = nil
		d.msgs = messages{}
	}
	if !d.done && now == phaseTraffic && len(c.facts.Tickets) >= maxTickets {
		d.finish(DecryptFinished)
	}
	d.index++
}

// innerType splits a TLSInnerPlaintext: content, content type, padding (RFC 8446, Section 5.2).
func innerType(plain []byte) (typ uint8, content []byte) {
	for i := len(plain) - 1; i >= 0; i-- {
		if plain[i] != 0 {
			return plain[i], plain[:i]
		}
	}
	return 0, nil
}

// deriveDecryption copies the states, and makes exact what decryption knows better than lengths do.
func (c *Conn) deriveDecryption() {
	f := &c.facts
	for i := range c.sides {
		h := &c.sides[i]
		d := h.dec
		if d == nil {
			continue
		}
		f.Decryption.State[i] = d.state
		if d.exact && d.finishedAt < h.app {
			f.HandshakeEnd[i], f.HandshakeEndKnown[i] = h.appEnd[d.finishedAt], h.exact(d.finishedAt)
		}
		if d.exact && session.Side(i) == session.Client {
			f.ClientFinished = true
		}
	}
}
