package decode

import "github.com/dynwatch/dynwatch/internal/flow"

// PPP protocol numbers (IANA "PPP Numbers").
const (
	pppIPv4      = 0x0021
	pppIPv6      = 0x0057
	pppMPLS      = 0x0281
	pppMPLSMulti = 0x0283
)

// ppp decodes a PPP frame (RFC 1661), with or without the address and control bytes ff 03, the protocol in two bytes or compressed to one.
// Compressed or encrypted contents (VJ, MPPE) are not IP to us.
func (d *Decoder) ppp(p rest, seg *flow.Segment) Result {
	const protocolLen = 2 // compressed or not: some payload follows
	if len(p.b) < protocolLen {
		return p.short(protocolLen)
	}
	if p.b[0] == 0xff && p.b[1] == 0x03 {
		if p = p.skip(2); len(p.b) < protocolLen {
			return p.short(protocolLen)
		}
	}
	proto, n := be16(p.b), protocolLen
	if p.b[0]&1 != 0 { // the last byte of a protocol number is odd, all before it are even
		proto, n = int(p.b[0]), 1
	}
	p = p.skip(n)
	switch proto {
	case pppIPv4:
		return d.ipv4(p, seg)
	case pppIPv6:
		return d.ipv6(p, seg)
	case pppMPLS, pppMPLSMulti:
		return d.mpls(p, seg)
	}
	return NotIP
}

// hdlc decodes what LINKTYPE_PPP_HDLC and LINKTYPE_C_HDLC hold: PPP behind ff, or Cisco HDLC (RFC 1547, Section 4.3.1) behind a unicast
// or multicast address: address, control, EtherType.
func (d *Decoder) hdlc(p rest, seg *flow.Segment) Result {
	const hdlcLen = 4
	if len(p.b) < hdlcLen {
		return p.short(hdlcLen)
	}
	if p.b[0] != 0x0f && p.b[0] != 0x8f {
		return d.ppp(p, seg)
	}
	t := be16(p.b[2:4])
	if t < minEtherType {
		return NotIP
	}
	return d.etherType(t, p.skip(hdlcLen), seg)
}

// pppoe decodes a PPPoE session header (RFC 2516, Section 4): version and type, code, session, length; then PPP without address bytes.
func (d *Decoder) pppoe(p rest, seg *flow.Segment) Result {
	const pppoeLen = 6
	if len(p.b) < pppoeLen {
		return p.short(pppoeLen)
	}
	if p.b[0] != 0x11 {
		return Malformed
	}
	if p.b[1] != 0 { // discovery
		return NotIP
	}
	n := be16(p.b[4:6])
	p = p.skip(pppoeLen)
	if n < p.wire {
		p = p.limit(n)
	}
	return d.ppp(p, seg)
}
