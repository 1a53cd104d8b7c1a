package trust

import (
	"errors"
	"fmt"
)

// The two ways in which reading can fail. ErrTruncated: the bytes end before the element does, so that more of them might have made
// it whole. ErrMalformed: what is there is not what X.509 asks for, and no further byte would help.
var (
	ErrTruncated = errors.New("truncated")
	ErrMalformed = errors.New("malformed")
)

// ParseError says which field of a certificate could not be read, and where.
type ParseError struct {
	// Field in words, as "validity".
	Field string
	// Offset counts bytes from the start of the certificate.
	Offset int
	// Err is ErrTruncated or ErrMalformed.
	Err error
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("certificate: %s at offset %d: %v", e.Field, e.Offset, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// DER identifier octets (X.690, Section 8.1.2) of what a certificate is made of.
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagUTF8String      = 0x0c
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagUniversalString = 0x1c
	tagBMPString       = 0x1e
	tagSequence        = 0x30
	tagSet             = 0x31
	tagContext0        = 0xa0 // [0], constructed
	tagContext3        = 0xa3 // [3], constructed
)

// An element is one tag-length-value of DER.
type element struct {
	tag     byte
	content []byte // the value; only its beginning if short
	raw     []byte // with identifier and length octets
	off     int    // of the content, from the start of the certificate
	short   bool   // the input ended before the value did
}

// A reader walks over the elements of one constructed value.
//
// It reads what DER (X.690, Section 10) and common faults of DER have in common: lengths that are longer than they need to be are
// accepted, indefinite lengths and tag numbers above 30 are not.
type reader struct {
	b   []byte
	off int // of b[0], from the start of the certificate
}

func (r *reader) empty() bool { return len(r.b) == 0 }

// peek gives the next identifier octet, 0 at the end.
func (r *reader) peek() byte {
	if len(r.b) == 0 {
		return 0
	}
	return r.b[0]
}

// any reads the next element whatever its tag. A short element is returned together with an error that is ErrTruncated.
func (r *reader) any(field string) (element, error) {
	if len(r.b) < 2 {
		return element{}, &ParseError{field, r.off, ErrTruncated}
	}
	tag, length, header := r.b[0], int(r.b[1]), 2
	if tag&0x1f == 0x1f || length == 0x80 {
		return element{}, &ParseError{field, r.off, ErrMalformed}
	}
	if length > 0x80 {
		n := length - 0x80
		if n > 4 {
			return element{}, &ParseError{field, r.off + 1, ErrMalformed}
		}
		if len(r.b) < 2+n {
			return element{}, &ParseError{field, r.off + 1, ErrTruncated}
		}
		wide := uint64(0)
		for _, c := range r.b[2 : 2+n] {
			wide = wide<<8 | uint64(c)
		}
		if wide > maxLength {
			return element{}, &ParseError{field, r.off + 1, ErrMalformed}
		}
		length, header = int(wide), 2+n
	}
	e := element{tag: tag, off: r.off + header}
	if len(r.b)-header < length {
		e.content, e.raw, e.short = r.b[header:len(r.b):len(r.b)], r.b[:len(r.b):len(r.b)], true
		r.off += len(r.b)
		r.b = nil
		return e, &ParseError{field, r.off, ErrTruncated}
	}
	end := header + length
	e.content, e.raw = r.b[header:end:end], r.b[:end:end]
	r.b, r.off = r.b[end:], r.off+end
	return e, nil
}

// maxLength is the longest element whose length is believed: far more than the 2^24-1 bytes that TLS can carry of a certificate
// (RFC 8446, Section 4.4.2), and small enough for int on every platform.
const maxLength = 1 << 28

// next reads the next element, which must have the tag.
func (r *reader) next(tag byte, field string) (element, error) {
	if len(r.b) > 0 && r.b[0] != tag {
		return element{}, &ParseError{field, r.off, ErrMalformed}
	}
	return r.any(field)
}

// inside is a reader over the element's value.
func (e element) inside() reader { return reader{b: e.content, off: e.off} }

// oidString is the dotted form of an OBJECT IDENTIFIER's content octets (X.690, Section 8.19), "" if they are not one. Arcs above
// 2^56 and identifiers of more than 64 octets are refused.
func oidString(b []byte) string {
	if len(b) == 0 || len(b) > 64 || b[len(b)-1]&0x80 != 0 {
		return ""
	}
	out := make([]byte, 0, 32)
	arc, first, octets := uint64(0), true, 0
	for _, c := range b {
		if octets++; octets > 8 {
			return ""
		}
		arc = arc<<7 | uint64(c&0x7f)
		if c&0x80 != 0 {
			continue
		}
		if first {
			top := min(arc/40, 2)
			out = fmt.Appendf(out, "%d.%d", top, arc-40*top)
			first = false
		} else {
			out = fmt.Appendf(out, ".%d", arc)
		}
		arc, octets = 0, 0
	}
	return string(out)
}

// smallInt reads a non-negative INTEGER below 2^31.
func smallInt(content []byte) (int, bool) {
	if len(content) == 0 || len(content) > 5 || content[0]&0x80 != 0 {
		return 0, false
	}
	v := uint64(0)
	for _, c := range content {
		v = v<<8 | uint64(c)
	}
	return int(v), v < 1<<31
}
