package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	_ "crypto/md5" // registers the hash: old public chains are signed with it
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"math/big"
)

type signatureKind uint8

const (
	kindUnsupported signatureKind = iota
	kindRSA                       // RSASSA-PKCS1-v1_5
	kindPSS                       // RSASSA-PSS
	kindECDSA
	kindEd25519
)

// SignatureAlgorithm is an AlgorithmIdentifier of a signature (RFC 3279, 4055, 5758, 8410).
type SignatureAlgorithm struct {
	// Name is crypto/x509's, such as "SHA256-RSA", "SHA256-RSAPSS", "ECDSA-SHA384" or "Ed25519", else that of an algorithm which is
	// not implemented, or its OID.
	Name string
	// Weak: the hash is MD5 or SHA-1, for which collisions can be made.
	Weak bool

	kind     signatureKind
	hash     crypto.Hash
	saltLen  int // of kindPSS
	raw      []byte
	mismatch bool // the copy inside the signed part says something else
}

var signatureAlgorithms = map[string]SignatureAlgorithm{
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04": {Name: "MD5-RSA", Weak: true, kind: kindRSA, hash: crypto.MD5},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05": {Name: "SHA1-RSA", Weak: true, kind: kindRSA, hash: crypto.SHA1},
	"\x2b\x0e\x03\x02\x1d":                 {Name: "SHA1-RSA", Weak: true, kind: kindRSA, hash: crypto.SHA1}, // 1.3.14.3.2.29, OIW
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e": {Name: "SHA224-RSA", kind: kindRSA, hash: crypto.SHA224},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": {Name: "SHA256-RSA", kind: kindRSA, hash: crypto.SHA256},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": {Name: "SHA384-RSA", kind: kindRSA, hash: crypto.SHA384},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": {Name: "SHA512-RSA", kind: kindRSA, hash: crypto.SHA512},
	"\x2a\x86\x48\xce\x3d\x04\x01":         {Name: "ECDSA-SHA1", Weak: true, kind: kindECDSA, hash: crypto.SHA1},
	"\x2a\x86\x48\xce\x3d\x04\x03\x01":     {Name: "ECDSA-SHA224", kind: kindECDSA, hash: crypto.SHA224},
	"\x2a\x86\x48\xce\x3d\x04\x03\x02":     {Name: "ECDSA-SHA256", kind: kindECDSA, hash: crypto.SHA256},
	"\x2a\x86\x48\xce\x3d\x04\x03\x03":     {Name: "ECDSA-SHA384", kind: kindECDSA, hash: crypto.SHA384},
	"\x2a\x86\x48\xce\x3d\x04\x03\x04":     {Name: "ECDSA-SHA512", kind: kindECDSA, hash: crypto.SHA512},
	oidEd25519:                             {Name: "Ed25519", kind: kindEd25519},
}

// Hashes by the content octets of their identifiers, for the parameters of RSASSA-PSS.
var hashesByOID = map[string]struct {
	hash crypto.Hash
	name string
}{
	"\x2b\x0e\x03\x02\x1a":     {crypto.SHA1, "SHA1"},
	oidPrefixNIST + "\x02\x01": {crypto.SHA256, "SHA256"},
	oidPrefixNIST + "\x02\x02": {crypto.SHA384, "SHA384"},
	oidPrefixNIST + "\x02\x03": {crypto.SHA512, "SHA512"},
	oidPrefixNIST + "\x02\x04": {crypto.SHA224, "SHA224"},
}

func readSignatureAlgorithm(algorithm element) SignatureAlgorithm {
	in := algorithm.inside()
	oid, err := in.next(tagOID, "algorithm")
	if err != nil {
		return SignatureAlgorithm{Name: "unreadable", raw: algorithm.raw}
	}
	a, ok := signatureAlgorithms[string(oid.content)]
	switch {
	case string(oid.content) == oidRSAPSS:
		a = readPSSParameters(in)
	case !ok:
		a = SignatureAlgorithm{Name: unsupportedName(oid.content)}
	}
	a.raw = algorithm.raw
	return a
}

// readPSSParameters reads RSASSA-PSS-params (RFC 4055, Section 3.1): hash, mask function with its own hash, salt length and trailer,
// each in its own tag and each with a default. Two different hashes are legal, never seen, and unsupported.
func readPSSParameters(in reader) SignatureAlgorithm {
	unusable := SignatureAlgorithm{Name: "RSAPSS with unusable parameters"}
	hash, name, maskHash, salt := crypto.SHA1, "SHA1", crypto.SHA1, 20
	params := element{}
	if !in.empty() {
		var err error
		if params, err = in.next(tagSequence, "RSASSA-PSS-params"); err != nil {
			return unusable
		}
	}
	for r := params.inside(); !r.empty(); {
		field, err := r.any("RSASSA-PSS-params")
		if err != nil {
			return unusable
		}
		v := field.inside()
		switch field.tag {
		case tagContext0, 0xa1:
			algorithm, err := v.next(tagSequence, "algorithm")
			if err != nil {
				return unusable
			}
			inner := algorithm.inside()
			oid, err := inner.next(tagOID, "algorithm")
			if err != nil {
				return unusable
			}
			if field.tag == 0xa1 {
				// id-mgf1 (1.2.840.113549.1.1.8), whose parameter is the hash's AlgorithmIdentifier.
				if string(oid.content) != "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" {
					return unusable
				}
				if algorithm, err = inner.next(tagSequence, "mgf1"); err != nil {
					return unusable
				}
				inner = algorithm.inside()
				if oid, err = inner.next(tagOID, "mgf1"); err != nil {
					return unusable
				}
			}
			h, ok := hashesByOID[string(oid.content)]
			if !ok {
				return unusable
			}
			if field.tag == 0xa1 {
				maskHash = h.hash
			} else {
				hash, name = h.hash, h.name
			}
		case 0xa2, tagContext3:
			number, err := v.next(tagInteger, "saltLength")
			if err != nil {
				return unusable
			}
			n, ok := smallInt(number.content)
			if !ok || field.tag == tagContext3 && n != 1 || n > maxRSABits/8 {
				return unusable
			}
			if field.tag == 0xa2 {
				salt = n
			}
		default:
			return unusable
		}
	}
	if hash != maskHash || salt == 0 {
		// crypto/rsa takes 0 for "any salt", which is not what an empty one asks for; nobody uses that either.
		return unusable
	}
	return SignatureAlgorithm{Name: name + "-RSAPSS", Weak: hash == crypto.SHA1, kind: kindPSS, hash: hash, saltLen: salt}
}

// A proof is the outcome of one signature check. unchecked means that an algorithm is not implemented or a key is unusable, so that
// nothing was learned.
type proof uint8

const (
	unchecked proof = iota
	invalid
	valid
)

// verify checks a signature over a message with a key of any supported algorithm. A key of another kind than the signature algorithm
// asks for cannot have made it: invalid.
func verify(key crypto.PublicKey, pssOnly bool, a SignatureAlgorithm, message, signature []byte) proof {
	if a.kind == kindUnsupported || key == nil || signature == nil || a.mismatch {
		return unchecked
	}
	if ed, ok := key.(ed25519.PublicKey); ok {
		return proofOf(a.kind == kindEd25519 && len(ed) == ed25519.PublicKeySize && ed25519.Verify(ed, message, signature))
	}
	if a.kind == kindEd25519 {
		return invalid
	}
	h := a.hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch {
		case a.kind == kindRSA && !pssOnly:
			return verifyPKCS1(key, a.hash, digest, signature)
		case a.kind == kindPSS:
			return verifyPSS(key, a, digest, signature)
		}
		return invalid
	case *ecdsa.PublicKey:
		return proofOf(a.kind == kindECDSA && ecdsa.VerifyASN1(key, digest, signature))
	}
	return unchecked
}

func proofOf(ok bool) proof {
	if ok {
		return valid
	}
	return invalid
}

// minStandardRSA is the shortest modulus in bits that crypto/rsa works with.
const minStandardRSA = 1024

func verifyPSS(key *rsa.PublicKey, a SignatureAlgorithm, digest, signature []byte) proof {
	if key.N.BitLen() < minStandardRSA {
		return unchecked
	}
	return proofOf(rsa.VerifyPSS(key, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: a.saltLen}) == nil)
}

func verifyPKCS1(key *rsa.PublicKey, hash crypto.Hash, digest, signature []byte) proof {
	if key.N.BitLen() >= minStandardRSA {
		return proofOf(rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil)
	}
	return verifySmallPKCS1(key, hash, digest, signature)
}

// DigestInfo prefixes of RSASSA-PKCS1-v1_5 (RFC 8017, Section 9.2, Note 1). MD5SHA1, of TLS 1.1 and below, has none.
var digestInfo = map[crypto.Hash]string{
	crypto.MD5:     "\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10",
	crypto.SHA1:    "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
	crypto.SHA224:  "\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
	crypto.SHA256:  "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
	crypto.SHA384:  "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
	crypto.SHA512:  "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
	crypto.MD5SHA1: "",
}

// verifySmallPKCS1 checks a signature of an RSA key below 1024 bits, which crypto/rsa refuses to touch: old servers still show them,
// and "made by a key that is far too short" is a better answer than none. Only public values are involved, so time may leak.
func verifySmallPKCS1(key *rsa.PublicKey, hash crypto.Hash, digest, signature []byte) proof {
	prefix, known := digestInfo[hash]
	size := (key.N.BitLen() + 7) / 8
	if !known || len(signature) != size || size < len(prefix)+len(digest)+11 {
		return invalid
	}
	s := new(big.Int).SetBytes(signature)
	if s.Cmp(key.N) >= 0 {
		return invalid
	}
	got := s.Exp(s, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, size))
	want := make([]byte, 0, size)
	want = append(want, 0, 1)
	want = append(want, bytes.Repeat([]byte{0xff}, size-3-len(prefix)-len(digest))...)
	want = append(want, 0)
	want = append(want, prefix...)
	want = append(want, digest...)
	return proofOf(bytes.Equal(got, want))
}
