package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxSigned bounds params and content: a ServerKeyExchange of finite-field Diffie-Hellman with 16384 bits has six thousand bytes.
const maxSigned = 1 << 16

// signatureScheme decodes a SignatureScheme of TLS 1.3 (RFC 8446, Section 4.2.3), which covers the SignatureAndHashAlgorithm pairs of
// TLS 1.2 (RFC 5246, Section 7.4.1.4.1). Unknown ones, DSA, Ed448 and the post-quantum ones come back as unsupported.
func signatureScheme(scheme uint16) SignatureAlgorithm {
	switch scheme {
	case 0x0804, 0x0809: // rsa_pss_rsae_sha256, rsa_pss_pss_sha256
		return SignatureAlgorithm{kind: kindPSS, hash: crypto.SHA256, saltLen: 32}
	case 0x0805, 0x080a:
		return SignatureAlgorithm{kind: kindPSS, hash: crypto.SHA384, saltLen: 48}
	case 0x0806, 0x080b:
		return SignatureAlgorithm{kind: kindPSS, hash: crypto.SHA512, saltLen: 64}
	case 0x0807:
		return SignatureAlgorithm{kind: kindEd25519}
	}
	var a SignatureAlgorithm
	switch scheme >> 8 {
	case 1:
		a.hash = crypto.MD5
	case 2:
		a.hash = crypto.SHA1
	case 3:
		a.hash = crypto.SHA224
	case 4:
		a.hash = crypto.SHA256
	case 5:
		a.hash = crypto.SHA384
	case 6:
		a.hash = crypto.SHA512
	default:
		return SignatureAlgorithm{}
	}
	switch scheme & 0xff {
	case 1:
		a.kind = kindRSA
	case 3:
		a.kind = kindECDSA
	}
	return a
}

// VerifyServerKeyExchange says whether the one who answered holds the private key of the leaf: whether signature, from a
// ServerKeyExchange, is the key's over client random, server random and params.
//
// version is the negotiated one (0x0300 to 0x0303), scheme the SignatureAndHashAlgorithm of TLS 1.2 and without meaning before. params are
// the ServerDHParams or ServerECDHParams bytes as sent, from the curve type (or the length of p) to the end of the public value
// (RFC 5246, Section 7.4.3; RFC 8422, Section 5.4). key is Result.LeafKey; nil and an RSA key of more than 8192 bits give
// session.KeyProofUnsupported. Randoms that are
// not 32 bytes long, or another version, give session.KeyProofNone. Call it only with a message read to its end, of a cipher suite that signs
// (DHE_* and ECDHE_*, not *_anon and not PSK), else a proof of nothing looks like a proof of fraud.
func VerifyServerKeyExchange(key crypto.PublicKey, version, scheme uint16, clientRandom, serverRandom, params, signature []byte) session.KeyProof {
	if len(clientRandom) != 32 || len(serverRandom) != 32 || len(params) == 0 || len(params) > maxSigned {
		return session.KeyProofNone
	}
	message := make([]byte, 0, 64+len(params))
	message = append(message, clientRandom...)
	message = append(message, serverRandom...)
	message = append(message, params...)
	switch session.Version(version) {
	case session.TLS12:
		return keyProof(verifyScheme(key, scheme, message, signature))
	case session.TLS11, session.TLS10, session.SSL30:
		return keyProof(verifyLegacy(key, message, signature))
	}
	return session.KeyProofNone
}

// VerifyCertificateVerify is the same for TLS 1.3, where the proof stands in a CertificateVerify, which only secrets make visible. content
// is what is signed: 64 spaces, the context string, a zero byte and the transcript hash (RFC 8446, Section 4.4.3).
func VerifyCertificateVerify(key crypto.PublicKey, scheme uint16, content, signature []byte) session.KeyProof {
	if len(content) == 0 || len(content) > maxSigned {
		return session.KeyProofNone
	}
	return keyProof(verifyScheme(key, scheme, content, signature))
}

// maxProofBits is the longest RSA key that signatures of handshakes are checked with, as in crypto/tls: unlike a chain's, they come anew with
// every session, and one of 16384 bits would take ten milliseconds.
const maxProofBits = 8192

func tooLong(key crypto.PublicKey) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() > maxProofBits
}

func keyProof(p proof) session.KeyProof {
	switch p {
	case valid:
		return session.KeyProofValid
	case invalid:
		return session.KeyProofInvalid
	}
	return session.KeyProofUnsupported
}

func verifyScheme(key crypto.PublicKey, scheme uint16, message, signature []byte) proof {
	if tooLong(key) {
		return unchecked
	}
	if signature == nil {
		signature = []byte{} // sent, and empty: no signature of anybody's
	}
	return verify(key, false, signatureScheme(scheme), message, signature)
}

// verifyLegacy is the signature of TLS 1.1 and below (RFC 4346, Section 7.4.3): RSA over MD5 and SHA-1 of the message side by side, without
// DigestInfo; ECDSA over SHA-1 (RFC 8422, Section 5.4).
func verifyLegacy(key crypto.PublicKey, message, signature []byte) proof {
	if tooLong(key) {
		return unchecked
	}
	sum := sha1.Sum(message)
	switch key := key.(type) {
	case *rsa.PublicKey:
		half := md5.Sum(message)
		return verifyPKCS1(key, crypto.MD5SHA1, append(half[:], sum[:]...), signature)
	case *ecdsa.PublicKey:
		return proofOf(ecdsa.VerifyASN1(key, sum[:], signature))
	case ed25519.PublicKey:
		return invalid // not defined before TLS 1.2
	}
	return unchecked
}
