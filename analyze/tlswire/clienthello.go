package tlswire

import (
	"crypto/sha256"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// ClientHello is one ClientHello as sent (RFC 8446, Section 4.1.2; RFC 5246, Section 7.4.1.2), in SSL 2.0 format too (RFC 5246, Appendix E.2).
//
// The message is kept whole, and the lists are decoded when asked for. Slices that methods return alias the kept message unless they
// are of decoded values; they are valid until the Conn is Reset.
type ClientHello struct {
	State State
	// Err is what is wrong with an Unreadable hello, or with the first extension that could not be read of a Complete one.
	Err error
	// V2Format: sent as an SSL 2.0 CLIENT-HELLO.
	V2Format bool

	// LegacyVersion is the version field; 0 if it is missing.
	LegacyVersion session.Version
	// OfferedMax is the highest version offered, GREASE left aside: of supported_versions, else LegacyVersion. It is 0 while
	// a missing or unreadable part could hold a higher one. Where TLS 1.3 and drafts of it are offered it is TLS 1.3.
	OfferedMax session.Version
	// Random is valid if RandomKnown. A CHALLENGE of SSL 2.0 stands right-aligned in it, as RFC 5246, Appendix E.2 wants.
	Random      [32]byte
	RandomKnown bool

	// SNI is the first host_name, as sent but for bytes that are not printable ASCII, which stand as \xx; at most 1024 characters.
	// "" if there is none. SNIInvalid: it has bytes that no host name has, or is longer than 255 bytes.
	SNI        string
	SNIInvalid bool

	// SuitesKnown: the whole list of cipher suites could be read, so the two below are certain when false too.
	SuitesKnown bool
	// FallbackSCSV: TLS_FALLBACK_SCSV is among the suites (RFC 7507).
	FallbackSCSV bool
	// RenegotiationInfo: the extension or TLS_EMPTY_RENEGOTIATION_INFO_SCSV was sent (RFC 5746).
	RenegotiationInfo bool

	// ExtensionsKnown: the whole list of extensions could be read, so an extension that is not here was not sent.
	ExtensionsKnown bool
	// EarlyData: the early_data extension was sent.
	EarlyData bool
	// ECH: an encrypted_client_hello extension of the outer type was sent (GREASE looks the same), or one of its drafts. ESNI: its
	// predecessor encrypted_server_name. Either way the SNI may be a cover name.
	ECH, ESNI bool
	// TicketOffered: a session_ticket extension was sent; the ticket itself is Ticket, empty for "support only".
	TicketOffered bool
	// PSKOffered: pre_shared_key was sent; PSKIdentities counts the identities in it.
	PSKOffered    bool
	PSKIdentities int

	raw                                                    []byte
	sessionID, suites, compression, extensions             span
	sniRaw, ticket, pskIdentity                            span
	versions, groups, points, schemes, alpn, shares        span
	hasVersions, hasGroups, hasPoints, hasSchemes, hasALPN bool
}

// Seen reports whether any byte of the hello was seen.
func (h *ClientHello) Seen() bool { return h.State != Absent }

// Raw is the handshake message with its header; in SSL 2.0 format the record body. Cut at the first missing byte if Partial.
func (h *ClientHello) Raw() []byte { return h.raw }

// SessionID is legacy_session_id.
func (h *ClientHello) SessionID() []byte { return h.sessionID.of(h.raw) }

// SNIRaw is the first host_name as sent.
func (h *ClientHello) SNIRaw() []byte { return h.sniRaw.of(h.raw) }

// Suites are the cipher suites in order, GREASE and signalling values included. Of an SSL 2.0 format hello those that TLS knows.
func (h *ClientHello) Suites() []uint16 {
	if !h.V2Format {
		return list16(h.suites.of(h.raw))
	}
	var l []uint16
	for b := h.suites.of(h.raw); len(b) >= 3; b = b[3:] {
		if b[0] == 0 {
			l = append(l, be16(b[1:]))
		}
	}
	return l
}

// SSL2Kinds are the cipher kinds of an SSL 2.0 format hello that only SSL 2.0 knows.
func (h *ClientHello) SSL2Kinds() []uint32 {
	if !h.V2Format {
		return nil
	}
	return ssl2Kinds(h.suites.of(h.raw))
}

// Compression are the compression methods offered.
func (h *ClientHello) Compression() []byte { return h.compression.of(h.raw) }

// Extensions are the extension types in order, GREASE included.
func (h *ClientHello) Extensions() []uint16 { return extensionTypes(h.extensions.of(h.raw)) }

// Versions are the versions of supported_versions in order without GREASE, else LegacyVersion alone; nil if they are not known.
func (h *ClientHello) Versions() []session.Version {
	if !h.hasVersions {
		if h.OfferedMax == 0 {
			return nil
		}
		return []session.Version{h.LegacyVersion}
	}
	var l []session.Version
	for b := h.versions.of(h.raw); len(b) >= 2; b = b[2:] {
		if v := be16(b); !IsGREASE(v) {
			l = append(l, session.Version(v))
		}
	}
	return l
}

// Groups are supported_groups in order, GREASE included.
func (h *ClientHello) Groups() []uint16 { return list16(h.groups.of(h.raw)) }

// PointFormats are ec_point_formats.
func (h *ClientHello) PointFormats() []byte { return h.points.of(h.raw) }

// SignatureSchemes are signature_algorithms in order, GREASE included.
func (h *ClientHello) SignatureSchemes() []uint16 { return list16(h.schemes.of(h.raw)) }

// KeyShares are the groups of key_share in order, GREASE included.
func (h *ClientHello) KeyShares() []uint16 {
	var l []uint16
	for c := (cursor{b: h.shares.of(h.raw)}); len(c.b) > 0; {
		g := c.u16()
		c.vec16()
		if c.short {
			break
		}
		l = append(l, g)
	}
	return l
}

// ALPN are the protocols offered in order, with bytes that are not printable ASCII as \xx.
func (h *ClientHello) ALPN() []string {
	var l []string
	for c := (cursor{b: h.alpn.of(h.raw)}); len(c.b) > 0; {
		p := c.vec8()
		if c.short {
			break
		}
		l = append(l, printable(p, 255))
	}
	return l
}

// Ticket is the session ticket of RFC 5077 that was offered.
func (h *ClientHello) Ticket() []byte { return h.ticket.of(h.raw) }

// TicketHash is the SHA-256 of Ticket, to be compared with Facts.TicketHash of an earlier session; false without a ticket.
func (h *ClientHello) TicketHash() (sum [32]byte, ok bool) {
	if h.ticket.n == 0 {
		return sum, false
	}
	return sha256.Sum256(h.Ticket()), true
}

// PSKIdentity is the first identity of pre_shared_key.
func (h *ClientHello) PSKIdentity() []byte { return h.pskIdentity.of(h.raw) }

// PSKIdentityHash is the SHA-256 of PSKIdentity, to be compared with Facts.Tickets of an earlier session; false without one.
func (h *ClientHello) PSKIdentityHash() (sum [32]byte, ok bool) {
	if h.PSKIdentities == 0 {
		return sum, false
	}
	return sha256.Sum256(h.PSKIdentity()), true
}

// extensionTypes lists the types of a block of extensions, as far as it goes.
func extensionTypes(block []byte) []uint16 {
	var l []uint16
	for c := (cursor{b: block}); len(c.b) > 0; {
		typ := c.u16()
		if c.short {
			break
		}
		l = append(l, typ)
		c.vec16()
	}
	return l
}

// hostName reports whether b has only bytes of a host name or of an address (letters, digits, hyphen, dot, underscore, colon).
func hostName(b []byte) bool {
	if len(b) == 0 || len(b) > 255 {
		return false
	}
	for _, c := range b {
		if !alphanumeric(c) && c != '-' && c != '.' && c != '_' && c != ':' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// printable is b with bytes outside printable ASCII, and the backslash, as \xx, at most limit characters.
func printable(b []byte, limit int) string {
	plain := len(b) <= limit
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return string(b)
	}
	const hex = "0123456789abcdef"
	s := make([]byte, 0, min(limit, 2*len(b)))
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '\\' {
			if len(s)+3 > limit {
				break
			}
			s = append(s, '\\', hex[c>>4], hex[c&15])
			continue
		}
		if len(s) == limit {
			break
		}
		s = append(s, c)
	}
	return string(s)
}
