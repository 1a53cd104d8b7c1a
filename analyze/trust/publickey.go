package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"
	"math/bits"
)

// maxRSABits is the longest RSA modulus that is used, as in OpenSSL: a signature check costs the square of the length, and nobody
// needs more than 4096 bits.
const maxRSABits = 16384

// PublicKey is what could be made of a SubjectPublicKeyInfo.
type PublicKey struct {
	// Key is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey; nil if signatures of this key cannot be checked, and Problem
	// or Unsupported says why.
	Key crypto.PublicKey
	// Algorithm in words: "RSA 2048", "ECDSA P-256", "Ed25519", else the name or OID of what it is.
	Algorithm string
	// Bits is the length of an RSA modulus, 0 for other keys.
	Bits int
	// PSSOnly: an RSA key for RSASSA-PSS alone (RFC 4055, Section 3.1).
	PSSOnly bool
	// ExplicitCurve: the curve is not named but spelled out, which lets anybody make a private key for somebody else's public key
	// (CVE-2020-0601); RFC 5480, Section 2.1.1 forbids it. Key is nil.
	ExplicitCurve bool
	// Unsupported: a known or unknown algorithm that is not implemented here.
	Unsupported bool
	// Problem says in words why a key of a supported algorithm is unusable.
	Problem string
}

// Object identifiers of keys, as content octets.
const (
	oidRSA        = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // 1.2.840.113549.1.1.1
	oidRSAPSS     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" // 1.2.840.113549.1.1.10, also a signature's
	oidEC         = "\x2a\x86\x48\xce\x3d\x02\x01"         // 1.2.840.10045.2.1
	oidEd25519    = "\x2b\x65\x70"                         // 1.3.101.112, also a signature's
	oidCurveP224  = "\x2b\x81\x04\x00\x21"                 // 1.3.132.0.33
	oidCurveP256  = "\x2a\x86\x48\xce\x3d\x03\x01\x07"     // 1.2.840.10045.3.1.7
	oidCurveP384  = "\x2b\x81\x04\x00\x22"                 // 1.3.132.0.34
	oidCurveP521  = "\x2b\x81\x04\x00\x23"                 // 1.3.132.0.35
	oidPrefixNIST = "\x60\x86\x48\x01\x65\x03\x04"         // 2.16.840.1.101.3.4: .2 hashes, .3 signatures
)

// Names of algorithms that are recognised but not implemented, of keys and signatures alike.
var unsupportedNames = map[string]string{
	"1.2.840.10040.4.1":       "DSA",
	"1.2.840.10040.4.3":       "DSA-SHA1",
	"2.16.840.1.101.3.4.3.2":  "DSA-SHA256",
	"1.2.840.113549.1.1.2":    "MD2-RSA",
	"1.2.840.113549.1.1.3":    "MD4-RSA",
	"1.3.101.113":             "Ed448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

// unsupportedName names an algorithm by its identifier's content octets.
func unsupportedName(oid []byte) string {
	dotted := oidString(oid)
	if name := unsupportedNames[dotted]; name != "" {
		return name
	}
	if dotted == "" {
		return "unreadable"
	}
	return dotted
}

// readPublicKey reads a SubjectPublicKeyInfo (RFC 5280, Section 4.1.2.7; RFC 3279; RFC 5480; RFC 8410).
func readPublicKey(spki element) PublicKey {
	unreadable := PublicKey{Algorithm: "unreadable", Problem: "unreadable"}
	r := spki.inside()
	algorithm, err := r.next(tagSequence, "algorithm")
	if err != nil {
		return unreadable
	}
	value, err := r.next(tagBitString, "subjectPublicKey")
	if err != nil || len(value.content) == 0 || value.content[0] != 0 {
		return unreadable
	}
	bytes := value.content[1:]
	in := algorithm.inside()
	oid, err := in.next(tagOID, "algorithm")
	if err != nil {
		return unreadable
	}
	switch string(oid.content) {
	case oidRSA, oidRSAPSS:
		k := readRSAKey(reader{b: bytes})
		k.PSSOnly = string(oid.content) == oidRSAPSS
		return k
	case oidEC:
		return readECKey(in, bytes)
	case oidEd25519:
		if len(bytes) != ed25519.PublicKeySize {
			return PublicKey{Algorithm: "Ed25519", Problem: fmt.Sprintf("%d bytes", len(bytes))}
		}
		return PublicKey{Key: ed25519.PublicKey(bytes), Algorithm: "Ed25519"}
	}
	return PublicKey{Algorithm: unsupportedName(oid.content), Unsupported: true}
}

func readRSAKey(r reader) PublicKey {
	k := PublicKey{Algorithm: "RSA"}
	seq, err := r.next(tagSequence, "RSAPublicKey")
	if err != nil {
		k.Problem = "unreadable"
		return k
	}
	in := seq.inside()
	modulus, err1 := in.next(tagInteger, "modulus")
	exponent, err2 := in.next(tagInteger, "publicExponent")
	if err1 != nil || err2 != nil || len(modulus.content) == 0 || len(exponent.content) == 0 {
		k.Problem = "unreadable"
		return k
	}
	n, e := trimZeros(modulus.content), trimZeros(exponent.content)
	if len(n) == 0 || len(e) == 0 || modulus.content[0]&0x80 != 0 || exponent.content[0]&0x80 != 0 {
		k.Problem = "modulus or exponent is not positive"
		return k
	}
	k.Bits = len(n)*8 - bits.LeadingZeros8(n[0])
	k.Algorithm = fmt.Sprintf("RSA %d", k.Bits)
	switch {
	case k.Bits > maxRSABits:
		k.Problem = fmt.Sprintf("modulus of more than %d bits", maxRSABits)
	case k.Bits < 256:
		k.Problem = "modulus is no longer than a hash"
	case n[len(n)-1]&1 == 0:
		k.Problem = "modulus is even"
	case len(e) > 4 || e[0] > 0x7f && len(e) == 4:
		// 2^31 is where crypto/rsa stops too; beyond it a check only gets slower.
		k.Problem = "exponent of more than 31 bits"
	default:
		exp := 0
		for _, c := range e {
			exp = exp<<8 | int(c)
		}
		if exp < 3 || exp&1 == 0 {
			// With exponent 1 everybody can sign.
			k.Problem = fmt.Sprintf("exponent is %d", exp)
			break
		}
		k.Key = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exp}
	}
	return k
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

func readECKey(parameters reader, point []byte) PublicKey {
	k := PublicKey{Algorithm: "ECDSA"}
	if parameters.peek() == tagSequence {
		k.Algorithm, k.ExplicitCurve = "ECDSA with explicit curve", true
		k.Problem = "the elliptic curve is spelled out instead of named"
		return k
	}
	oid, err := parameters.next(tagOID, "namedCurve")
	if err != nil {
		k.Problem = "no named curve"
		return k
	}
	var curve elliptic.Curve
	switch string(oid.content) {
	case oidCurveP224:
		curve = elliptic.P224()
	case oidCurveP256:
		curve = elliptic.P256()
	case oidCurveP384:
		curve = elliptic.P384()
	case oidCurveP521:
		curve = elliptic.P521()
	default:
		k.Algorithm, k.Unsupported = "ECDSA on "+unsupportedName(oid.content), true
		return k
	}
	k.Algorithm = "ECDSA " + curve.Params().Name
	if len(point) > 0 && (point[0] == 2 || point[0] == 3) {
		x, y := elliptic.UnmarshalCompressed(curve, point)
		if x == nil {
			k.Problem = "point is not on its curve"
			return k
		}
		n := (curve.Params().BitSize + 7) / 8
		full := make([]byte, 1+2*n)
		full[0] = 4
		x.FillBytes(full[1 : 1+n])
		y.FillBytes(full[1+n:])
		point = full
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		k.Problem = "point is not on its curve"
		return k
	}
	k.Key = key
	return k
}

// verificationCost weighs one signature check with a key: 1 is an RSA 2048 check, some 30 microseconds. The numbers were measured: crypto/rsa
// has no fast code above 2048 bits, nor crypto/elliptic for any curve but P-256.
func (k PublicKey) verificationCost() int {
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		n := (k.Bits + 2047) / 2048
		if n > 1 {
			n *= 2
		}
		return n * n * (1 + bits.Len(uint(key.E))/18)
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return 3
		case 521:
			return 55
		}
		return 20
	}
	return 3
}
