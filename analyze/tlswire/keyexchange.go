package tlswire

import (
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// KeyExchange is a ServerKeyExchange (RFC 5246, Section 7.4.3; RFC 8422, Section 5.4), split for a check of its signature, which is made
// over client_random, server_random and Params (both randoms are in the hellos).
type KeyExchange struct {
	// State is Unreadable if the message does not have the form that the suite demands, or if no form is known for the suite.
	State State
	// Kind is the key exchange: "ecdhe", "dhe", "rsa_export", "psk", "srp"; "" if unknown.
	Kind string
	// Anonymous: a suite without authentication, or a PSK suite; there is no signature.
	Anonymous bool
	// Group is the named curve of ECDHE, else 0.
	Group uint16
	// PrimeBits is the length of the prime of DHE, or of the modulus of an export key, in bits.
	PrimeBits int
	// Params are the bytes that the signature covers beside the randoms. Valid until the Conn is Reset.
	Params []byte
	// HasScheme: a SignatureScheme stood before the signature (TLS 1.2). Before, RSA signs MD5 and SHA-1 together, (EC)DSA SHA-1.
	HasScheme bool
	Scheme    uint16
	Signature []byte

	raw []byte
}

// kexOf derives the key exchange of a suite from its IANA name, and whether the server signs its parameters.
func kexOf(suite uint16) (kind string, signed, known bool) {
	name := cipherName(suite)
	kex, _, found := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !found {
		return "", false, false
	}
	export := strings.Contains(kex, "_EXPORT")
	kex, _, _ = strings.Cut(kex, "_EXPORT")
	switch kex {
	case "ECDHE_RSA", "ECDHE_ECDSA":
		return "ecdhe", true, true
	case "ECDH_anon":
		return "ecdhe", false, true
	case "DHE_RSA", "DHE_DSS":
		return "dhe", true, true
	case "DH_anon":
		return "dhe", false, true
	case "RSA":
		if export {
			return "rsa_export", true, true
		}
	case "PSK", "RSA_PSK", "DHE_PSK", "ECDHE_PSK", "PSK_DHE":
		return "psk", false, true
	case "SRP_SHA":
		return "srp", false, true
	case "SRP_SHA_RSA", "SRP_SHA_DSS":
		return "srp", true, true
	}
	return "", false, false
}

// parse reads the message body in k.raw. suite and version are the ServerHello's; suiteKnown is false when that was lost.
func (k *KeyExchange) parse(suite uint16, suiteKnown bool, version session.Version) {
	*k = KeyExchange{State: Unreadable, raw: k.raw}
	kind, signed, known := kexOf(suite)
	if !suiteKnown || !known {
		// A suite that nobody knows: signed ECDHE parameters on a named curve that end exactly at the end of the message
		// are not there by chance, and with them a stolen certificate can be told from a genuine one.
		if cipherName(suite) != "" && suiteKnown {
			return
		}
		kind, signed = "ecdhe", true
	}
	c := cursor{b: k.raw}
	switch kind {
	case "ecdhe":
		switch curveType := c.u8(); curveType {
		case 3: // named_curve
			k.Group = c.u16()
		case 1: // explicit_prime: p, a, b, base, order, cofactor
			for range 6 {
				c.vec8()
			}
		default: // explicit_char2 was never seen
			return
		}
		c.vec8()
	case "dhe":
		k.PrimeBits = bitLen(c.vec16())
		c.vec16()
		c.vec16()
	case "rsa_export":
		k.PrimeBits = bitLen(c.vec16())
		c.vec16()
	case "srp":
		c.vec16()
		c.vec16()
		c.vec8()
		c.vec16()
	case "psk": // a hint, then for (EC)DHE_PSK the parameters; nothing of it is signed
		c.vec16()
		c.b = c.b[len(c.b):]
	}
	if c.short {
		k.Group, k.PrimeBits = 0, 0
		return
	}
	params := k.raw[: len(k.raw)-len(c.b) : len(k.raw)-len(c.b)]
	var scheme uint16
	var signature []byte
	hasScheme := signed && version >= session.TLS12
	if signed {
		if hasScheme {
			scheme = c.u16()
		}
		signature = c.vec16()
	}
	if c.short || len(c.b) > 0 {
		k.Group, k.PrimeBits = 0, 0
		return
	}
	k.State, k.Kind, k.Anonymous = Complete, kind, !signed
	k.Params, k.HasScheme, k.Scheme, k.Signature = params, hasScheme, scheme, signature[:len(signature):len(signature)]
}

// bitLen is the number of bits of a big-endian number.
func bitLen(b []byte) int {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0
	}
	n := 8 * len(b)
	for top := b[0]; top < 0x80; top <<= 1 {
		n--
	}
	return n
}
