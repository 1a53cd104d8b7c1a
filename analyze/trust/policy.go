package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// DefaultMinRSABits is the shortest RSA modulus that is not reported as weak (NIST SP 800-131A; CA/Browser Forum Baseline Requirements,
// Section 6.1.5).
const DefaultMinRSABits = 2048

// Policy is what the operator trusts besides Amazon Trust Services. The zero value trusts only these.
type Policy struct {
	// AllowCA are roots, or single server certificates, from ParseCAFile.
	AllowCA []CA
	// Pins are SHA-256 digests of a SubjectPublicKeyInfo of a leaf, an intermediate or a root; see ParsePin.
	Pins [][sha256.Size]byte
	// AllowIssuer are names of the leaf's issuer as FormatDN prints them, compared exactly. A name is no proof: anybody can issue under
	// it. It is the last resort where the CA's certificate cannot be had, is reported as "allow-issuer", and does not hold where
	// the issuer's certificate was sent and did not sign the leaf.
	AllowIssuer []string
	// MinRSABits is the shortest RSA modulus that is not reported as weak; 0 means DefaultMinRSABits.
	MinRSABits int
}

// CA is one certificate of an --allow-ca file.
type CA struct {
	// Name is the file and, in a bundle, the number of the certificate: "corp.pem, certificate 2".
	Name string
	// Subject in the form of FormatDN.
	Subject string
	// Warning says what the operator may not have meant, "" if nothing: the certificate is no CA, so only this very server key is allowed.
	Warning string

	parsed *Parsed
}

// Limits of an --allow-ca file.
const (
	maxCAFile         = 8 << 20
	maxCACertificates = 2000
)

// ParseCAFile reads certificates from the content of a file: a PEM bundle, or one certificate in DER. Other PEM blocks, such as keys, are
// skipped. An error names the file and the number of the certificate (from 1), and nothing is returned with it.
//
// A certificate that may not issue others is accepted as the server's own, with a Warning.
func ParseCAFile(name string, data []byte) ([]CA, error) {
	if len(data) > maxCAFile {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", name, len(data), maxCAFile)
	}
	if len(data) > 0 && data[0] == tagSequence {
		ca, err := newCA(name, data)
		if err != nil {
			return nil, err
		}
		return []CA{ca}, nil
	}
	var cas []CA
	const begin = "-----BEGIN "
	rest, blocks := data, 0
	for {
		start := bytes.Index(rest, []byte(begin))
		if start < 0 {
			break
		}
		rest = rest[start:]
		label, _, _ := bytes.Cut(rest[len(begin):], []byte("-----"))
		isCertificate := string(label) == "CERTIFICATE" || string(label) == "X509 CERTIFICATE" || string(label) == "TRUSTED CERTIFICATE"
		if isCertificate {
			blocks++
		}
		// pem.Decode passes over damaged blocks in silence; one that does not end before the next begins is found here.
		end := len(rest)
		if next := bytes.Index(rest[len(begin):], []byte(begin)); next >= 0 {
			end = len(begin) + next
		}
		one := rest[:end]
		rest = rest[end:]
		if !isCertificate {
			continue
		}
		where := fmt.Sprintf("%s, certificate %d", name, blocks)
		block, _ := pem.Decode(one)
		if block == nil {
			return nil, fmt.Errorf("%s: damaged PEM block", where)
		}
		if blocks > maxCACertificates {
			return nil, fmt.Errorf("%s: more than %d certificates", name, maxCACertificates)
		}
		ca, err := newCA(where, block.Bytes)
		if err != nil {
			return nil, err
		}
		cas = append(cas, ca)
	}
	if len(cas) == 0 {
		return nil, fmt.Errorf("%s: no certificate: want PEM or DER", name)
	}
	return cas, nil
}

func newCA(where string, der []byte) (CA, error) {
	p, err := ParseCertificate(bytes.Clone(der))
	if err == nil {
		err = p.Damage
	}
	if err != nil {
		return CA{}, fmt.Errorf("%s: %w", where, err)
	}
	if p.Key.Key == nil {
		reason := p.Key.Problem
		if reason == "" {
			reason = "not supported"
		}
		return CA{}, fmt.Errorf("%s: public key %s: %s", where, p.Key.Algorithm, reason)
	}
	ca := CA{Name: where, Subject: FormatDN(p.RawSubject), parsed: p}
	if reason := newCandidate(p).cannotIssue(true); reason != "" {
		ca.Warning = fmt.Sprintf("%s: %s %s: only a server that shows this key itself is allowed by it", where, ca.Subject, reason)
	}
	return ca, nil
}

// ParsePin reads the SHA-256 of a SubjectPublicKeyInfo: 64 hex digits, with or without colons, or Base64 as in RFC 7469, either also
// after "sha256/", "sha256:" or "sha256//" (curl).
func ParsePin(s string) ([sha256.Size]byte, error) {
	var pin [sha256.Size]byte
	text := strings.TrimSpace(s)
	if len(text) > 6 && strings.EqualFold(text[:6], "sha256") && (text[6] == '/' || text[6] == ':') {
		// One slash more could be the first character of Base64; the length tells.
		text = text[7:]
		if strings.HasPrefix(text, "/") && len(strings.TrimRight(text, "=")) == 44 {
			text = text[1:]
		}
	}
	digits := strings.ReplaceAll(text, ":", "")
	if len(digits) == 2*sha256.Size {
		if b, err := hex.DecodeString(digits); err == nil {
			copy(pin[:], b)
			return pin, nil
		}
	}
	trimmed := strings.TrimRight(text, "=")
	if len(trimmed) == base64.RawStdEncoding.EncodedLen(sha256.Size) {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if b, err := encoding.Strict().DecodeString(trimmed); err == nil && len(b) == sha256.Size {
				copy(pin[:], b)
				return pin, nil
			}
		}
	}
	return pin, fmt.Errorf("pin %q: want the SHA-256 of a public key (SubjectPublicKeyInfo) as 64 hex digits or 44 Base64 characters", s)
}

// checkIssuerName refuses names that would make a policy useless.
func checkIssuerName(name string) error {
	if strings.TrimSpace(name) == "" {
		return errors.New("allowed issuer name is empty")
	}
	folded := fold(name)
	for _, part := range []string{"o=amazon,", "cn=amazon root ca", "cn=amazon rsa ", "cn=amazon ecdsa ", "cn=starfield services root"} {
		if strings.Contains(folded+",", part) {
			return fmt.Errorf("allowed issuer name %q: is Amazon's, whose chains are verified by signature; allowing the name would let every imitation pass",
				name)
		}
	}
	return nil
}
