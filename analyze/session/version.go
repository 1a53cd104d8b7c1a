package session

import "fmt"

// Version is a TLS protocol version as it stands on the wire.
type Version uint16

// The versions (RFC 6101, 2246, 4346, 5246, 8446; SSL 2.0 from its own draft).
const (
	SSL20 Version = 0x0002
	SSL30 Version = 0x0300
	TLS10 Version = 0x0301
	TLS11 Version = 0x0302
	TLS12 Version = 0x0303
	TLS13 Version = 0x0304
)

// String is the name used everywhere in output. Drafts of TLS 1.3 print as "TLS 1.3-draft28", Facebook's Fizz experiments as
// "TLS 1.3-fb26", other values in hex.
func (v Version) String() string {
	switch v {
	case SSL20:
		return "SSL 2.0"
	case SSL30:
		return "SSL 3.0"
	case TLS10:
		return "TLS 1.0"
	case TLS11:
		return "TLS 1.1"
	case TLS12:
		return "TLS 1.2"
	case TLS13:
		return "TLS 1.3"
	}
	switch v >> 8 {
	case 0x7f:
		return fmt.Sprintf("TLS 1.3-draft%d", uint16(v)&0xff)
	case 0xfb:
		return fmt.Sprintf("TLS 1.3-fb%d", uint16(v)&0xff)
	}
	return fmt.Sprintf("0x%04x", uint16(v))
}

// Rank orders versions by strength: drafts and experiments of TLS 1.3 rank as TLS 1.3, SSL 2.0 lowest. 0 is unknown.
func (v Version) Rank() int {
	switch {
	case v == 0:
		return 0
	case v == SSL20:
		return 1
	case v < SSL30:
		return 0
	case v <= TLS13:
		return int(v-SSL30) + 2
	}
	return int(TLS13-SSL30) + 2
}

// Is13 reports whether v is TLS 1.3 or one of its drafts.
func (v Version) Is13() bool { return v.Rank() >= TLS13.Rank() }

// ParseVersion reads what --min-version takes: "1.2", "TLS 1.2", "tls1.2", "tlsv1.2", "ssl3".
func ParseVersion(s string) (Version, error) {
	switch normalise(s) {
	case "ssl2", "ssl2.0":
		return SSL20, nil
	case "ssl3", "ssl3.0":
		return SSL30, nil
	case "1.0", "tls1", "tls1.0":
		return TLS10, nil
	case "1.1", "tls1.1":
		return TLS11, nil
	case "1.2", "tls1.2":
		return TLS12, nil
	case "1.3", "tls1.3":
		return TLS13, nil
	}
	return 0, fmt.Errorf("unknown TLS version %q: use 1.0, 1.1, 1.2 or 1.3", s)
}

func normalise(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == ' ' || c == 'v' || c == '_' || c == '-' {
			continue
		}
		b = append(b, c)
	}
	return string(b)
}
