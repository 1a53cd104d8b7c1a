package tlswire

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// ServerHello is a ServerHello or HelloRetryRequest (RFC 8446, Section 4.1.3; RFC 5246, Section 7.4.1.3), drafts included.
type ServerHello struct {
	State State
	// Err is what is wrong with an Unreadable one, or with the first extension that could not be read of a Complete one.
	Err error
	// RetryRequest: this is a HelloRetryRequest, by its random or, in drafts up to 21, its message type.
	RetryRequest bool
	// DraftLayout: without session id and compression, as in drafts 14 to 21 and older.
	DraftLayout bool

	// LegacyVersion is the version field; Version is what was chosen: supported_versions, else LegacyVersion. Version is 0 while a
	// missing extension could say otherwise.
	LegacyVersion, Version session.Version
	// Random is valid if RandomKnown; Sentinel is read from it.
	Random      [32]byte
	RandomKnown bool
	Sentinel    session.Sentinel
	// Suite and Compression are valid if SuiteKnown.
	Suite       uint16
	SuiteKnown  bool
	Compression uint8

	// ExtensionsKnown: the whole list could be read, so an extension that is not here was not sent.
	ExtensionsKnown bool
	// Group is the group of key_share; 0 if there is none.
	Group uint16
	// PSK: pre_shared_key was sent; PSKIndex is the identity chosen.
	PSK      bool
	PSKIndex uint16
	// ALPN is the protocol chosen, up to TLS 1.2; "" if none.
	ALPN string
	// RenegotiationInfo, SessionTicket, ExtendedMasterSecret: the extension was sent.
	RenegotiationInfo, SessionTicket, ExtendedMasterSecret bool

	raw                   []byte
	sessionID, extensions span
	hasVersion            bool
}

// Seen reports whether any byte of it was seen.
func (h *ServerHello) Seen() bool { return h.State != Absent }

// Raw is the handshake message with its header, cut at the first missing byte if Partial. It is valid until the Conn is Reset.
func (h *ServerHello) Raw() []byte { return h.raw }

// SessionID is legacy_session_id_echo; up to TLS 1.2 the id of the session.
func (h *ServerHello) SessionID() []byte { return h.sessionID.of(h.raw) }

// Extensions are the extension types in order.
func (h *ServerHello) Extensions() []uint16 { return extensionTypes(h.extensions.of(h.raw)) }

// retryRandom is the SHA-256 of "HelloRetryRequest", which takes the place of the random (RFC 8446, Section 4.1.3).
var retryRandom = [32]byte{
	0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
	0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
}

// The first seven bytes and the two ends of the markers of RFC 8446, Section 4.1.3.
const (
	sentinel12 = 0x444F574E47524401
	sentinel11 = 0x444F574E47524400
)

// sentinelOf reads the downgrade marker from a ServerHello.random.
func sentinelOf(random *[32]byte) session.Sentinel {
	switch binary.BigEndian.Uint64(random[24:]) {
	case sentinel12:
		return session.SentinelTLS12
	case sentinel11:
		return session.SentinelTLS11
	}
	return session.SentinelNone
}

// parse reads h.raw, the message with its header.
func (h *ServerHello) parse(whole bool) {
	*h = ServerHello{raw: h.raw}
	h.State = Partial
	if whole {
		h.State = Complete
	}
	c := cursor{b: h.raw[min(4, len(h.raw)):]}
	fail := func(field string) {
		if whole {
			h.State = Unreadable
			h.Err = &readError{"ServerHello", field, len(h.raw) - len(c.b), c.short}
		}
		h.choose()
	}

	version := session.Version(c.u16())
	if c.short {
		fail("legacy_version")
		return
	}
	h.LegacyVersion = version
	if len(h.raw) > 0 && h.raw[0] == typeHelloRetryRequest {
		h.parseDraftRetry(&c, fail)
		return
	}
	random := c.take(32)
	if c.short {
		fail("random")
		return
	}
	copy(h.Random[:], random)
	h.RandomKnown = true
	h.Sentinel = sentinelOf(&h.Random)
	h.RetryRequest = h.Random == retryRandom
	// Up to draft 21 the field bears the draft's number and there is no session id; 0x0304 as such stands for drafts before 14.
	// No final version has it above 0x0303.
	h.DraftLayout = version > session.TLS12
	if !h.DraftLayout {
		id, idWhole := c.prefix8()
		if !idWhole || len(id) > 32 {
			fail("legacy_session_id_echo")
			return
		}
		h.sessionID = spanOf(h.raw, id)
	}
	suite := c.u16()
	if c.short {
		fail("cipher_suite")
		return
	}
	h.Suite, h.SuiteKnown = suite, true
	if !h.DraftLayout {
		h.Compression = c.u8()
		if c.short {
			fail("legacy_compression_method")
			return
		}
	}
	h.parseExtensionBlock(&c, fail)
}

// parseDraftRetry reads the HelloRetryRequest of drafts 14 to 21: version, from draft 19 a cipher suite, extensions.
func (h *ServerHello) parseDraftRetry(c *cursor, fail func(string)) {
	h.RetryRequest, h.DraftLayout = true, true
	if h.LegacyVersion >= 0x7f13 || h.LegacyVersion == session.TLS13 {
		h.Suite = c.u16()
		h.SuiteKnown = !c.short
		if c.short {
			fail("cipher_suite")
			return
		}
	}
	h.parseExtensionBlock(c, fail)
}

func (h *ServerHello) parseExtensionBlock(c *cursor, fail func(string)) {
	if len(c.b) == 0 {
		h.ExtensionsKnown = h.State == Complete
		h.choose()
		return
	}
	block, blockWhole := c.prefix16()
	h.extensions = spanOf(h.raw, block)
	exts := cursor{b: block}
	for len(exts.b) > 0 {
		at := cap(h.raw) - cap(exts.b)
		typ := exts.u16()
		body, bodyWhole := exts.prefix16()
		if exts.short || !bodyWhole {
			blockWhole = false
			break
		}
		if !h.parseExtension(typ, body) && h.Err == nil {
			h.Err = &readError{"ServerHello", ExtensionName(typ), at, false}
		}
	}
	if !blockWhole || c.short {
		fail("extensions")
		return
	}
	h.ExtensionsKnown = true
	if len(c.b) > 0 && h.Err == nil {
		h.Err = &readError{"ServerHello", "trailing bytes", len(h.raw) - len(c.b), false}
	}
	h.choose()
}

func (h *ServerHello) parseExtension(typ uint16, body []byte) bool {
	c := cursor{b: body}
	switch typ {
	case extSupportedVersions:
		v := c.u16()
		if c.short {
			return false
		}
		if !h.hasVersion {
			h.hasVersion, h.Version = true, session.Version(v)
		}
	case extKeyShare, extDraftKeyShare:
		g := c.u16()
		if c.short {
			return false
		}
		h.Group = g
	case extPreSharedKey:
		i := c.u16()
		h.PSK, h.PSKIndex = true, i
		return !c.short
	case extALPN:
		l := cursor{b: c.vec16()}
		p := l.vec8()
		if c.short || l.short {
			return false
		}
		h.ALPN = printable(p, 255)
	case extRenegotiationInfo:
		h.RenegotiationInfo = true
	case extSessionTicket:
		h.SessionTicket = true
	case extExtendedMasterSecret:
		h.ExtendedMasterSecret = true
	}
	return true
}

// choose settles Version where no supported_versions said it. A hello that is cut before the end of its extensions still tells
// the version if no TLS 1.3 server could have sent what is there.
func (h *ServerHello) choose() {
	switch {
	case h.hasVersion:
	case h.ExtensionsKnown, h.LegacyVersion != session.TLS12, h.SuiteKnown && h.Suite>>8 != 0x13:
		h.Version = h.LegacyVersion
	}
}
