package tlswire

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// ccm is AES-CCM (RFC 3610, NIST SP 800-38C), which neither the standard library nor x/crypto has, for the TLS 1.3 suites of RFC 8446,
// Appendix B.4: a 16-byte block cipher, a nonce of 7 to 13 bytes and a tag of 4 to 16 bytes, even.
//
// It is written to be checked by eye, not for speed: an observer opens a handful of records per connection with it. It is not
// constant-time beyond the comparison of the tag, which does not matter to somebody who holds the keys by consent.
type ccm struct {
	block    cipher.Block
	nonceLen int
	tagLen   int
}

var errCCMOpen = errors.New("ccm: message authentication failed")

func newCCM(block cipher.Block, nonceLen, tagLen int) (cipher.AEAD, error) {
	if block.BlockSize() != 16 {
		return nil, errors.New("ccm: block size is not 16")
	}
	if nonceLen < 7 || nonceLen > 13 {
		return nil, errors.New("ccm: nonce length is not 7 to 13")
	}
	if tagLen < 4 || tagLen > 16 || tagLen%2 != 0 {
		return nil, errors.New("ccm: tag length is not 4, 6 … 16")
	}
	return &ccm{block: block, nonceLen: nonceLen, tagLen: tagLen}, nil
}

func (c *ccm) NonceSize() int { return c.nonceLen }
func (c *ccm) Overhead() int  { return c.tagLen }

// fits reports whether n bytes can be counted in the length field, which has 15-nonceLen bytes.
func (c *ccm) fits(n int) bool {
	bits := 8 * (15 - c.nonceLen)
	return bits >= 63 || uint64(n) < 1<<bits
}

// mac is the CBC-MAC T over B_0, the associated data and the message (RFC 3610, Section 2.2).
func (c *ccm) mac(nonce, plaintext, data []byte) [16]byte {
	var x, b [16]byte
	b[0] = byte((c.tagLen-2)/2<<3 | (15 - c.nonceLen - 1))
	if len(data) > 0 {
		b[0] |= 0x40
	}
	copy(b[1:], nonce)
	n := uint64(len(plaintext))
	for i := 15; i > c.nonceLen; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	c.block.Encrypt(x[:], b[:])

	if len(data) > 0 {
		var head [10]byte
		n := 0
		switch {
		case len(data) < 0xff00:
			binary.BigEndian.PutUint16(head[:], uint16(len(data)))
			n = 2
		case uint64(len(data)) < 1<<32:
			head[0], head[1] = 0xff, 0xfe
			binary.BigEndian.PutUint32(head[2:], uint32(len(data)))
			n = 6
		default:
			head[0], head[1] = 0xff, 0xff
			binary.BigEndian.PutUint64(head[2:], uint64(len(data)))
			n = 10
		}
		k := subtle.XORBytes(x[:], x[:], head[:n])
		m := copy(b[:], data[:min(len(data), 16-k)])
		subtle.XORBytes(x[k:], x[k:], b[:m])
		c.block.Encrypt(x[:], x[:])
		c.absorb(&x, data[m:])
	}
	c.absorb(&x, plaintext)
	return x
}

// absorb takes msg into the CBC-MAC, the last block padded with zeros.
func (c *ccm) absorb(x *[16]byte, msg []byte) {
	for len(msg) > 0 {
		n := subtle.XORBytes(x[:], x[:], msg[:min(len(msg), 16)])
		c.block.Encrypt(x[:], x[:])
		msg = msg[n:]
	}
}

// crypt XORs src with the key stream S_1, S_2 … into dst and returns S_0, which masks the tag (Section 2.3).
func (c *ccm) crypt(dst, src, nonce []byte) [16]byte {
	var a, s, s0 [16]byte
	a[0] = byte(15 - c.nonceLen - 1)
	copy(a[1:], nonce)
	c.block.Encrypt(s0[:], a[:])
	for len(src) > 0 {
		for i := 15; i > c.nonceLen; i-- {
			a[i]++
			if a[i] != 0 {
				break
			}
		}
		c.block.Encrypt(s[:], a[:])
		n := subtle.XORBytes(dst, src, s[:])
		dst, src = dst[n:], src[n:]
	}
	return s0
}

func (c *ccm) Seal(dst, nonce, plaintext, data []byte) []byte {
	if len(nonce) != c.nonceLen {
		panic("ccm: wrong nonce length")
	}
	if !c.fits(len(plaintext)) {
		panic("ccm: message too long")
	}
	tag := c.mac(nonce, plaintext, data)
	out := make([]byte, len(plaintext)+c.tagLen)
	s0 := c.crypt(out, plaintext, nonce)
	subtle.XORBytes(out[len(plaintext):], tag[:c.tagLen], s0[:])
	return append(dst, out...)
}

func (c *ccm) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	if len(nonce) != c.nonceLen {
		panic("ccm: wrong nonce length")
	}
	n := len(ciphertext) - c.tagLen
	if n < 0 || !c.fits(n) {
		return nil, errCCMOpen
	}
	out := make([]byte, n)
	s0 := c.crypt(out, ciphertext[:n], nonce)
	tag := c.mac(nonce, out, data)
	subtle.XORBytes(tag[:], tag[:], s0[:])
	if subtle.ConstantTimeCompare(tag[:c.tagLen], ciphertext[n:]) != 1 {
		clear(out)
		return nil, errCCMOpen
	}
	return append(dst, out...), nil
}
