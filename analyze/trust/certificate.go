package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// MaxCertificate is the length in bytes of the longest certificate that is looked at. Real ones have one to four thousand; one with a
// thousand names has about thirty thousand, and one of 340 thousand was seen.
const MaxCertificate = 512 << 10

// Parsed is what the lenient reader found in one certificate (RFC 5280, Section 4.1). Its slices alias the input, nothing is copied.
//
// If Damage is set, the fields after the place that it names are zero.
type Parsed struct {
	// Raw is the certificate without bytes that followed it; RawTBS the part that is signed, with its header.
	Raw, RawTBS []byte
	// Version is 1, 2 or 3 (or what the certificate claims instead).
	Version int
	// Serial holds the content octets of the INTEGER: two's complement, big-endian, possibly with needless leading octets.
	Serial []byte
	// RawIssuer and RawSubject are the DER of the names; see FormatDN.
	RawIssuer, RawSubject []byte
	// NotBefore and NotAfter hold if ValidityRead, in UTC.
	NotBefore, NotAfter time.Time
	ValidityRead        bool
	// RawSPKI is the DER of the SubjectPublicKeyInfo, of which a pin is the SHA-256. Key is what could be made of it.
	RawSPKI []byte
	Key     PublicKey
	// Extensions of version 3.
	Extensions Extensions
	// SignatureAlgorithm and Signature are the issuer's. Signature is nil if it was not a whole number of octets.
	SignatureAlgorithm SignatureAlgorithm
	Signature          []byte
	// Problems are oddities that did not stop the reader, in words, at most 16.
	Problems []string
	// Damage says where reading stopped, nil if it came to the end. It wraps ErrTruncated or ErrMalformed.
	Damage error
	// Trailing counts bytes after the certificate.
	Trailing int
}

// Partial reports whether only a prefix of the certificate was there.
func (p *Parsed) Partial() bool { return errors.Is(p.Damage, ErrTruncated) }

// ParseCertificate reads a certificate as leniently as its meaning allows.
//
// It returns an error, and no certificate, only if not even the issuer could be read; a *ParseError that wraps ErrTruncated if more
// bytes might have helped. If reading stops further on, the certificate is returned with Damage set: of a truncated one (a snap length,
// a gap) the issuer is often there. A certificate that crypto/x509 accepts is always read to the end, and the same things are found in
// it. What the lenient reader accepts proves nothing by itself: only signatures do.
func ParseCertificate(der []byte) (*Parsed, error) {
	if len(der) > MaxCertificate {
		return nil, &ParseError{fmt.Sprintf("length %d", len(der)), 0, ErrMalformed}
	}
	p := &Parsed{}
	err := p.read(der)
	if err == nil {
		return p, nil
	}
	if p.RawIssuer == nil {
		return nil, err
	}
	p.Damage = err
	return p, nil
}

// read fills p field by field, in wire order, and stops at the first that cannot be read.
func (p *Parsed) read(der []byte) error {
	outer := reader{b: der}
	cert, err := outer.next(tagSequence, "certificate")
	if err != nil && !cert.short {
		return err
	}
	p.Raw, p.Trailing = cert.raw, len(outer.b)
	if p.Trailing > 0 {
		p.note("%d bytes follow the certificate", p.Trailing)
	}
	body := cert.inside()
	tbs, err := body.next(tagSequence, "tbsCertificate")
	if err != nil && !tbs.short {
		return err
	}
	if err := p.readTBS(tbs.inside()); err != nil {
		return err
	}
	if tbs.short || cert.short {
		// The element's own end is missing, though each field inside happened to be whole.
		return &ParseError{"tbsCertificate", tbs.off + len(tbs.content), ErrTruncated}
	}
	p.RawTBS = tbs.raw
	inner := p.SignatureAlgorithm
	algorithm, err := body.next(tagSequence, "signatureAlgorithm")
	if err != nil {
		return err
	}
	p.SignatureAlgorithm = readSignatureAlgorithm(algorithm)
	if string(inner.raw) != string(algorithm.raw) {
		// RFC 5280, Section 4.1.1.2: they MUST be the same. The inner one is not signed over as such by verifiers that use the outer.
		p.SignatureAlgorithm.mismatch = true
		p.note("the two signature algorithms differ: %s, %s", inner.Name, p.SignatureAlgorithm.Name)
	}
	signature, err := body.next(tagBitString, "signatureValue")
	if err != nil {
		return err
	}
	if len(signature.content) > 0 && signature.content[0] == 0 {
		p.Signature = signature.content[1:]
	} else {
		p.note("the signature is not a whole number of octets")
	}
	if !body.empty() {
		p.note("%d bytes follow the signature", len(body.b))
	}
	return nil
}

func (p *Parsed) readTBS(r reader) error {
	p.Version = 1
	if r.peek() == tagContext0 {
		version, err := r.next(tagContext0, "version")
		if err != nil {
			return err
		}
		in := version.inside()
		if number, err := in.next(tagInteger, "version"); err != nil {
			p.note("version unreadable")
		} else if v, ok := smallInt(number.content); ok {
			p.Version = v + 1
		} else {
			p.note("version unreadable")
		}
	}
	serial, err := r.next(tagInteger, "serialNumber")
	if err != nil {
		return err
	}
	p.Serial = serial.content
	if len(p.Serial) == 0 {
		p.note("serial number is empty")
	} else if p.Serial[0]&0x80 != 0 {
		p.note("serial number is negative")
	}
	algorithm, err := r.next(tagSequence, "signature")
	if err != nil {
		return err
	}
	p.SignatureAlgorithm = readSignatureAlgorithm(algorithm)
	issuer, err := r.next(tagSequence, "issuer")
	if err != nil {
		return err
	}
	p.RawIssuer = issuer.raw
	validity, err := r.next(tagSequence, "validity")
	if err != nil {
		return err
	}
	p.readValidity(validity)
	subject, err := r.next(tagSequence, "subject")
	if err != nil {
		return err
	}
	p.RawSubject = subject.raw
	if len(subject.content) == 0 && len(issuer.content) == 0 {
		p.note("issuer and subject are empty")
	}
	spki, err := r.next(tagSequence, "subjectPublicKeyInfo")
	if err != nil {
		return err
	}
	p.RawSPKI = spki.raw
	p.Key = readPublicKey(spki)
	if p.Key.Problem != "" {
		p.note("public key: %s", p.Key.Problem)
	}
	for !r.empty() {
		field, err := r.any("optional field")
		if err != nil {
			return err
		}
		switch field.tag {
		case 0x81, 0xa1, 0x82, 0xa2: // issuerUniqueID, subjectUniqueID
		case tagContext3:
			p.readExtensions(field)
		default:
			p.note("unknown field with tag 0x%02x", field.tag)
		}
	}
	return nil
}

func (p *Parsed) readValidity(validity element) {
	r := validity.inside()
	from, err1 := r.any("notBefore")
	to, err2 := r.any("notAfter")
	if err1 == nil && err2 == nil {
		var ok1, ok2 bool
		p.NotBefore, ok1 = readTime(from.tag, from.content)
		p.NotAfter, ok2 = readTime(to.tag, to.content)
		p.ValidityRead = ok1 && ok2
	}
	switch {
	case !p.ValidityRead:
		p.NotBefore, p.NotAfter = time.Time{}, time.Time{}
		p.note("validity unreadable")
	case p.NotAfter.Before(p.NotBefore):
		p.note("validity ends before it begins")
	case p.NotBefore.Year() < 1970:
		p.note("valid since %s", p.NotBefore.Format(time.DateOnly))
	}
}

// maxProblems bounds the list of oddities of one certificate and of one chain.
const maxProblems = 16

func (p *Parsed) note(format string, args ...any) {
	if len(p.Problems) < maxProblems {
		p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
	}
}

// SerialHex is the serial number in lower-case hex, whole octets, without the octet that only carries the sign; "-" leads a negative
// one, as OpenSSL prints it. Numbers of more than 64 octets, where RFC 5280 allows 20, are cut.
func (p *Parsed) SerialHex() string {
	b := p.Serial
	if len(b) == 0 {
		return ""
	}
	if b[0]&0x80 == 0 {
		for len(b) > 1 && b[0] == 0 {
			b = b[1:]
		}
		if len(b) > 64 {
			return hex.EncodeToString(b[:64]) + "..."
		}
		return hex.EncodeToString(b)
	}
	if len(b) > 64 {
		return "-..."
	}
	magnitude := make([]byte, len(b)) // two's complement: invert, add one
	carry := byte(1)
	for i := len(b) - 1; i >= 0; i-- {
		magnitude[i] = ^b[i] + carry
		if magnitude[i] != 0 {
			carry = 0
		}
	}
	for len(magnitude) > 1 && magnitude[0] == 0 {
		magnitude = magnitude[1:]
	}
	return "-" + hex.EncodeToString(magnitude)
}
