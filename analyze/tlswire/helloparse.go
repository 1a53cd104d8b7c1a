package tlswire

import "github.com/dynwatch/dynwatch/analyze/session"

// parse reads h.raw, the message with its header. whole tells that no byte is missing; the offsets of an error count from the header.
func (h *ClientHello) parse(whole bool) {
	*h = ClientHello{raw: h.raw}
	h.State = Partial
	if whole {
		h.State = Complete
	}
	c := cursor{b: h.raw[min(4, len(h.raw)):]}
	// fail ends the reading: a cut message stays Partial, a whole one is Unreadable.
	fail := func(field string) {
		if whole {
			h.State = Unreadable
			h.Err = &readError{"ClientHello", field, len(h.raw) - len(c.b), c.short}
		}
	}

	version := session.Version(c.u16())
	if c.short {
		fail("legacy_version")
		return
	}
	h.LegacyVersion = version
	if version < session.TLS12 {
		// Who offers TLS 1.3 through supported_versions writes 0x0303 here (RFC 8446, Section 4.1.2), so whatever is missing
		// or unreadable further down, there is no more.
		h.OfferedMax = version
	}
	random := c.take(32)
	if c.short {
		fail("random")
		return
	}
	copy(h.Random[:], random)
	h.RandomKnown = true
	id, idWhole := c.prefix8()
	if !idWhole || len(id) > 32 {
		fail("legacy_session_id")
		return
	}
	h.sessionID = spanOf(h.raw, id)
	suites, suitesWhole := c.prefix16()
	h.suites = spanOf(h.raw, suites)
	h.scanSuites(suites)
	if !suitesWhole {
		fail("cipher_suites")
		return
	}
	h.SuitesKnown = true
	methods, methodsWhole := c.prefix8()
	if !methodsWhole {
		fail("legacy_compression_methods")
		return
	}
	h.compression = spanOf(h.raw, methods)
	if len(c.b) == 0 {
		if whole { // extensions may be absent up to TLS 1.2
			h.ExtensionsKnown = true
			h.OfferedMax = h.LegacyVersion
		}
		return
	}
	block, blockWhole := c.prefix16()
	h.extensions = spanOf(h.raw, block)
	ok := h.parseExtensions(block)
	switch {
	case !blockWhole, c.short, !ok:
		fail("extensions")
	default:
		h.ExtensionsKnown = true
		if len(c.b) > 0 && h.Err == nil {
			h.Err = &readError{"ClientHello", "trailing bytes", len(h.raw) - len(c.b), false}
		}
	}
	if h.OfferedMax == 0 && h.ExtensionsKnown {
		h.OfferedMax = h.LegacyVersion
	}
}

func (h *ClientHello) scanSuites(b []byte) {
	for ; len(b) >= 2; b = b[2:] {
		switch be16(b) {
		case suiteFallbackSCSV:
			h.FallbackSCSV = true
		case suiteEmptyRenegotiationInfo:
			h.RenegotiationInfo = true
		}
	}
}

// parseExtensions reads the extensions that are whole; false if the block does not end with one.
func (h *ClientHello) parseExtensions(block []byte) bool {
	c := cursor{b: block}
	for len(c.b) > 0 {
		at := cap(h.raw) - cap(c.b)
		typ := c.u16()
		body, whole := c.prefix16()
		if c.short || !whole {
			return false
		}
		if !h.parseExtension(typ, body) && h.Err == nil {
			h.Err = &readError{"ClientHello", ExtensionName(typ), at, false}
		}
	}
	return true
}

// parseExtension reads one extension; the first of a type counts. It reports whether the body is well-formed.
func (h *ClientHello) parseExtension(typ uint16, body []byte) bool {
	c := cursor{b: body}
	switch typ {
	case extServerName:
		return h.parseSNI(body)
	case extSupportedVersions:
		first, l := !h.hasVersions, c.vec8()
		if !h.list(&c, l, 2, &h.versions, &h.hasVersions) {
			return false
		}
		if first {
			h.OfferedMax = highest(l, h.LegacyVersion)
		}
	case extSupportedGroups:
		return h.list(&c, c.vec16(), 2, &h.groups, &h.hasGroups)
	case extPointFormats:
		return h.list(&c, c.vec8(), 1, &h.points, &h.hasPoints)
	case extSignatureAlgorithms:
		return h.list(&c, c.vec16(), 2, &h.schemes, &h.hasSchemes)
	case extALPN:
		l := c.vec16()
		if !h.list(&c, l, 1, &h.alpn, &h.hasALPN) {
			return false
		}
		for p := (cursor{b: l}); len(p.b) > 0; {
			if p.vec8(); p.short {
				return false
			}
		}
	case extKeyShare, extDraftKeyShare:
		l := c.vec16()
		if c.short {
			return false
		}
		if h.shares.n == 0 {
			h.shares = spanOf(h.raw, l)
		}
	case extSessionTicket:
		if !h.TicketOffered {
			h.TicketOffered, h.ticket = true, spanOf(h.raw, body)
		}
	case extPreSharedKey:
		h.PSKOffered = true
		ids := cursor{b: c.vec16()}
		if c.short {
			return false
		}
		for len(ids.b) > 0 {
			id := ids.vec16()
			ids.u32() // obfuscated_ticket_age
			if ids.short {
				return false
			}
			if h.PSKIdentities == 0 {
				h.pskIdentity = spanOf(h.raw, id)
			}
			h.PSKIdentities++
		}
	case extEarlyData:
		h.EarlyData = true
	case extRenegotiationInfo:
		h.RenegotiationInfo = true
	case extECH, 0xfe08, 0xfe09, 0xfe0a, 0xfe0b, 0xfe0c: // the latter of drafts 8 to 12
		h.ECH = true
	case extESNI:
		h.ESNI = true
	}
	return true
}

// list keeps a list of elements of size bytes that was read with c, if it is the first of its kind. It reports whether it is well-formed.
func (h *ClientHello) list(c *cursor, l []byte, size int, kept *span, has *bool) bool {
	if c.short || len(l)%size != 0 {
		return false
	}
	if !*has {
		*has, *kept = true, spanOf(h.raw, l)
	}
	return true
}

// parseSNI reads server_name (RFC 6066, Section 3).
func (h *ClientHello) parseSNI(body []byte) bool {
	c := cursor{b: body}
	names := cursor{b: c.vec16()}
	for !c.short && len(names.b) > 0 {
		typ := names.u8()
		name := names.vec16()
		if names.short {
			return false
		}
		if typ == 0 && h.sniRaw.n == 0 {
			h.sniRaw = spanOf(h.raw, name)
			h.SNI = printable(name, 1024)
			h.SNIInvalid = !hostName(name)
		}
	}
	return !c.short
}

// highest is the highest version of a list that is not GREASE; TLS 1.3 itself wins over its drafts. legacy if there is none.
func highest(list []byte, legacy session.Version) session.Version {
	var best session.Version
	for ; len(list) >= 2; list = list[2:] {
		v := session.Version(be16(list))
		if IsGREASE(uint16(v)) || v.Rank() == 0 {
			continue
		}
		if v.Rank() > best.Rank() || v.Rank() == best.Rank() && best != session.TLS13 && (v == session.TLS13 || v > best) {
			best = v
		}
	}
	if best == 0 {
		return legacy
	}
	return best
}
