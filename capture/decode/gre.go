package decode

import "github.com/dynwatch/dynwatch/internal/flow"

// Flags of a GRE header's first two bytes (RFC 1701, RFC 2890; the acknowledgement is PPTP's, RFC 2637, Section 4.1).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greAck      = 0x0080
	greVersion  = 0x0007
)

// gre decodes GRE of version 0 with all its flags, version 1 as PPTP has it, and ERSPAN behind it.
func (d *Decoder) gre(p rest, seg *flow.Segment) Result {
	const greLen = 4
	if len(p.b) < greLen {
		return p.short(greLen)
	}
	flags, t := be16(p.b[0:2]), be16(p.b[2:4])
	n := greLen
	for _, f := range [...]int{greKey, greSequence} {
		if flags&f != 0 {
			n += 4
		}
	}
	switch flags & greVersion {
	case 0:
		if flags&(greChecksum|greRouting) != 0 {
			n += 4 // checksum and offset, both there if either flag is set
		}
	case 1:
		if flags&greAck != 0 {
			n += 4
		}
		if t != typePPP || flags&greSequence == 0 { // no sequence number: only an acknowledgement, without payload
			return OtherProtocol
		}
	default:
		return OtherProtocol
	}
	if len(p.b) < n {
		return p.short(n)
	}
	p = p.skip(n)
	if flags&greVersion == 0 && flags&greRouting != 0 {
		var r Result
		if p, r = skipGRERouting(p); r != 0 {
			return r
		}
	}
	switch t {
	case typeERSPAN:
		if flags&greSequence == 0 {
			return d.ethernet(p, seg) // type I has no header
		}
		return d.erspan(p, 8, seg)
	case typeERSPAN3:
		return d.erspan3(p, seg)
	}
	if t < minEtherType {
		return OtherProtocol
	}
	return d.etherType(t, p, seg)
}

// skipGRERouting skips the source route entries of RFC 1701: family (2), offset, length, then length bytes; an entry of zeroes ends them.
func skipGRERouting(p rest) (rest, Result) {
	const entryLen = 4
	for range maxExtensions {
		if len(p.b) < entryLen {
			return p, p.short(entryLen)
		}
		family, n := be16(p.b[0:2]), entryLen+int(p.b[3])
		if len(p.b) < n {
			return p, p.short(n)
		}
		p = p.skip(n)
		if family == 0 && n == entryLen {
			return p, 0
		}
	}
	return p, TooDeep
}

// erspan skips an ERSPAN header of n bytes (draft-foschiano-erspan-03, Section 4.2 for type II) in front of the mirrored frame.
func (d *Decoder) erspan(p rest, n int, seg *flow.Segment) Result {
	if len(p.b) < n {
		return p.short(n)
	}
	return d.ethernet(p.skip(n), seg)
}

// erspan3 decodes ERSPAN type III (the same draft, Section 4.3): 12 bytes, plus 8 where the last bit says that a platform part follows. Its frame type
// tells an Ethernet frame (0) from an IP packet (2).
func (d *Decoder) erspan3(p rest, seg *flow.Segment) Result {
	const erspan3Len, platformLen = 12, 8
	if len(p.b) < erspan3Len {
		return p.short(erspan3Len)
	}
	frameType, n := p.b[10]>>2&0x1f, erspan3Len
	if p.b[11]&1 != 0 {
		n += platformLen
	}
	switch frameType {
	case 0:
		return d.erspan(p, n, seg)
	case 2:
		if len(p.b) < n {
			return p.short(n)
		}
		return d.rawIP(p.skip(n), seg)
	}
	return OtherProtocol
}
