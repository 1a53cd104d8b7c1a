package probe

import (
	"crypto/rand"
	"strings"
	"sync"

	"golang.org/x/crypto/cryptobyte"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// hello is a ClientHello of our own making, for what crypto/tls does not offer: SSL 3.0, any suite, TLS_FALLBACK_SCSV. It is sent to see the
// answer, not to be completed.
type hello struct {
	version  session.Version // the highest, and in TLS 1.3 the only one
	name     string          // "" for none
	suites   []uint16
	fallback bool
}

const (
	suiteFallbackSCSV  = 0x5600 // RFC 7507
	suiteRenegotiation = 0x00ff // RFC 5746, Section 3.3
)

// The extensions that it has (IANA, TLS ExtensionType Values).
const (
	extServerName          = 0
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extMasterSecret        = 23
	extSupportedVersions   = 43
	extPSKModes            = 45
	extKeyShare            = 51
)

// groups are x25519, secp256r1, secp384r1, secp521r1, ffdhe2048 and ffdhe3072 (RFC 8446, Section 4.2.7).
var groups = []uint16{0x001d, 0x0017, 0x0018, 0x0019, 0x0100, 0x0101}

// signatureSchemes are those of RFC 8446, Section 4.2.3, the old ones of TLS 1.2 included: the answer matters, not whether to like it.
var signatureSchemes = []uint16{
	0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401, 0x0501, 0x0601,
	0x0303, 0x0301, 0x0203, 0x0201, 0x0402, 0x0202,
}

// record gives the hello in a record of its own (RFC 8446, Section 5.1; RFC 6101, Section 5.2.1 for SSL 3.0).
func (h *hello) record() ([]byte, error) {
	var random [96]byte // random, session id, key share
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	legacy := min(h.version, session.TLS12)
	outer := max(session.SSL30, min(legacy, session.TLS10)) // what old servers take (RFC 8446, Section 5.1)
	var b cryptobyte.Builder
	b.AddUint8(22)
	b.AddUint16(uint16(outer))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1)
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(uint16(legacy))
			b.AddBytes(random[:32])
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
				if h.version.Is13() {
					b.AddBytes(random[32:64])
				}
			})
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, s := range h.suites {
					b.AddUint16(s)
				}
				if !h.version.Is13() {
					b.AddUint16(suiteRenegotiation)
				}
				if h.fallback {
					b.AddUint16(suiteFallbackSCSV)
				}
			})
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) }) // no compression
			if h.version > session.SSL30 {
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { h.extensions(b, random[64:]) })
			}
		})
	})
	return b.Bytes()
}

func (h *hello) extensions(b *cryptobyte.Builder, share []byte) {
	add := func(id uint16, body func(b *cryptobyte.Builder)) {
		b.AddUint16(id)
		b.AddUint16LengthPrefixed(body)
	}
	list16 := func(values []uint16) func(b *cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, v := range values {
					b.AddUint16(v)
				}
			})
		}
	}
	if h.name != "" {
		add(extServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0) // host_name
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.name)) })
			})
		})
	}
	add(extMasterSecret, func(*cryptobyte.Builder) {})
	add(extPointFormats, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
	})
	add(extSupportedGroups, list16(groups))
	if h.version >= session.TLS12 {
		add(extSignatureAlgorithms, list16(signatureSchemes))
	}
	add(extALPN, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, p := range protocols {
				b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(p)) })
			}
		})
	})
	if !h.version.Is13() {
		return
	}
	add(extSupportedVersions, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(uint16(session.TLS13)) })
	})
	add(extPSKModes, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(1) }) // psk_dhe_ke
	})
	add(extKeyShare, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(groups[0]) // any 32 bytes are a public key of x25519
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(share) })
		})
	})
}

// protocols are offered by ALPN, as DynamoDB's own clients do.
var protocols = []string{"h2", "http/1.1"}

// suites13 are those of TLS 1.3 (RFC 8446, Appendix B.4).
var suites13 = []uint16{0x1301, 0x1302, 0x1303, 0x1304, 0x1305}

// preferred begins the hellos below TLS 1.3: what servers of today choose from, so that a server which follows the client's order does not
// come to a weak suite that it takes as well.
var preferred = []uint16{
	0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0x009e, 0x009f, 0xccaa, 0xc023, 0xc027, 0xc024, 0xc028, 0xc009, 0xc013, 0xc00a, 0xc014,
	0x0067, 0x006b, 0x0033, 0x0039, 0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035,
}

// suites12 are all suites with names below TLS 1.3 that need no secret shared beforehand: preferred ones, others, weak ones. weakSuites are
// the weak ones among them.
var suites12, weakSuites = sync.OnceValue(func() []uint16 { all, _ := listSuites(); return all }),
	sync.OnceValue(func() []uint16 { _, weak := listSuites(); return weak })

func listSuites() (all, weak []uint16) {
	seen := make(map[uint16]bool)
	all = append(all, preferred...)
	for _, s := range preferred {
		seen[s] = true
	}
	for _, block := range [][2]int{{0x0001, 0x00c5}, {0xc001, 0xc0af}, {0xcca8, 0xccaa}} {
		for id := block[0]; id <= block[1]; id++ {
			name := tlswire.CipherName(uint16(id))
			switch {
			case seen[uint16(id)] || !strings.Contains(name, "_WITH_"):
			case strings.Contains(name, "PSK"), strings.Contains(name, "KRB5"), strings.Contains(name, "SRP"), strings.Contains(name, "_DH_RSA"),
				strings.Contains(name, "_DH_DSS"), strings.Contains(name, "ECDH_"): // keys that no server has
			case isWeak(name):
				weak = append(weak, uint16(id))
			default:
				all = append(all, uint16(id))
			}
		}
	}
	// ECDH_anon was left out with ECDH_ECDSA and ECDH_RSA.
	weak = append(weak, 0xc015, 0xc016, 0xc017, 0xc018, 0xc019)
	return append(all, weak...), weak
}

// isWeak reports what weak-cipher rates high: no encryption, no authentication, export grade, and broken ciphers.
func isWeak(name string) bool {
	for _, word := range strings.Split(name, "_") {
		switch word {
		case "NULL", "anon", "EXPORT", "RC4", "RC2", "DES", "DES40", "3DES", "IDEA":
			return true
		}
	}
	return false
}
