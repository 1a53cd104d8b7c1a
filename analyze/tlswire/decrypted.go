package tlswire

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// ErrUnsupported: a certificate was sent compressed in a way that cannot be undone here.
var ErrUnsupported = errors.New("unsupported certificate compression")

// secretSink takes the decrypted messages of a Conn.
type secretSink Conn

func (s *secretSink) wants(session.Side, uint8) bool { return true }

func (s *secretSink) badType(session.Side, uint8) {}

func (s *secretSink) message(from session.Side, msg []byte, whole bool) {
	c := (*Conn)(s)
	c.dirty = true
	h := &c.sides[from]
	d := h.dec
	typ, body := msg[0], msg[4:]
	h.sent |= sentOf(typ)
	if d.phase == phaseTraffic {
		if from == session.Server && typ == typeNewSessionTicket && whole {
			c.newSessionTicket13(body)
		}
		return
	}
	if typ == typeFinished {
		d.phase = phaseTraffic
		return
	}
	if from == session.Client {
		if typ == typeCertificate {
			c.facts.ClientChainLength = countCertificates(body, true)
		}
		return
	}
	switch typ {
	case typeEncryptedExtensions:
		c.encryptedExtensions(body)
	case typeCertificate:
		if c.chain.State == Absent {
			c.chain.raw = append(c.chain.raw[:0], body...)
			c.chain.parse(c.chain.raw, whole, true)
			c.chain.Decrypted = true
		}
	case typeCompressedCertificate:
		if c.chain.State == Absent {
			c.compressedCertificate(body, whole)
			c.chain.Decrypted = true
		}
	case typeCertificateVerify:
		c.certificateVerify(body, whole)
	}
	if t := c.keys.transcript; t != nil {
		if whole {
			t.Write(msg)
		} else {
			c.keys.transcript = nil
		}
	}
}

// encryptedExtensions reads ALPN (RFC 8446, Section 4.3.1).
func (c *Conn) encryptedExtensions(body []byte) {
	r := cursor{b: body}
	for exts := (cursor{b: r.vec16()}); len(exts.b) > 0; {
		typ := exts.u16()
		e := cursor{b: exts.vec16()}
		if exts.short {
			return
		}
		if typ == extALPN {
			l := cursor{b: e.vec16()}
			if p := l.vec8(); !l.short {
				c.facts.ALPN = printable(p, 255)
			}
		}
	}
}

// certificateVerify keeps the signature and what it is made over (RFC 8446, Section 4.4.3).
func (c *Conn) certificateVerify(body []byte, whole bool) {
	r := cursor{b: body}
	scheme := r.u16()
	signature := r.vec16()
	if !whole || r.short || c.facts.CertificateVerify != nil {
		return
	}
	v := &CertificateVerify{Scheme: scheme, Signature: bytes.Clone(signature)}
	if t := c.keys.transcript; t != nil {
		v.Signed = append(v.Signed, bytes.Repeat([]byte{0x20}, 64)...)
		v.Signed = append(v.Signed, "TLS 1.3, server CertificateVerify\x00"...)
		v.Signed = t.Sum(v.Signed)
	}
	c.facts.CertificateVerify = v
}

// newSessionTicket13 keeps the hash of a ticket (RFC 8446, Section 4.6.1): lifetime, age_add, nonce, ticket, extensions.
func (c *Conn) newSessionTicket13(body []byte) {
	r := cursor{b: body}
	lifetime := r.u32()
	r.u32()
	r.vec8()
	ticket := r.vec16()
	if !r.short {
		c.facts.addTicket(ticket, lifetime)
	}
}

// Compression algorithms (RFC 8879, Section 3). Brotli is the third; there is no decoder among our modules.
const (
	compressionZlib   = 1
	compressionBrotli = 2
	compressionZstd   = 3
)

// compressedCertificate undoes RFC 8879, Section 4: algorithm, length when uncompressed, compressed Certificate message.
func (c *Conn) compressedCertificate(body []byte, whole bool) {
	r := cursor{b: body}
	algorithm := r.u16()
	size := r.u24()
	data := r.vec24()
	if !whole {
		c.chain.State = Partial
		return
	}
	fail := func(err error) { c.chain.State, c.chain.Err = Unreadable, err }
	if r.short || size > MaxMessage {
		fail(&readError{"CompressedCertificate", "lengths", 0, r.short})
		return
	}
	var plain io.Reader
	switch algorithm {
	case compressionZlib:
		z, err := zlib.NewReader(bytes.NewReader(data))
		if err != nil {
			fail(fmt.Errorf("CompressedCertificate: %w", err))
			return
		}
		plain = z
	case compressionZstd:
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			fail(fmt.Errorf("CompressedCertificate: %w", err))
			return
		}
		defer z.Close()
		plain = z
	case compressionBrotli:
		fail(fmt.Errorf("CompressedCertificate: brotli: %w", ErrUnsupported))
		return
	default:
		fail(fmt.Errorf("CompressedCertificate: algorithm %d: %w", algorithm, ErrUnsupported))
		return
	}
	// One byte more than announced, so that a message that is longer than it says is noticed.
	message, err := io.ReadAll(io.LimitReader(plain, int64(size)+1))
	switch {
	case err != nil:
		fail(fmt.Errorf("CompressedCertificate: %w", err))
	case len(message) != size:
		fail(&readError{"CompressedCertificate", "uncompressed_length", 2, false})
	default:
		c.chain.raw = message
		c.chain.parse(message, true, true)
	}
}
