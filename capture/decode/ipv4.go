package decode

import "github.com/dynwatch/dynwatch/internal/flow"

// ipv4MinLen is an IPv4 header without options (RFC 791, Section 3.1).
const ipv4MinLen = 20

// IP protocol numbers (IANA "Protocol Numbers"), and those of IPv6 extension headers.
const (
	protoHopByHop    = 0
	protoIPv4        = 4
	protoTCP         = 6
	protoUDP         = 17
	protoIPv6        = 41
	protoRouting     = 43
	protoFragment    = 44
	protoGRE         = 47
	protoAH          = 51
	protoDestination = 60
	protoMobility    = 135
	protoHIP         = 139
	protoShim6       = 140
)

// ipv4 decodes an IPv4 packet.
func (d *Decoder) ipv4(p rest, seg *flow.Segment) Result {
	if !d.deeper() {
		return TooDeep
	}
	if len(p.b) < ipv4MinLen {
		return p.short(ipv4MinLen)
	}
	b := p.b
	header, total := int(b[0]&0x0f)*4, be16(b[2:4])
	if total == 0 {
		// Segmentation offload hands on packets longer than the field can say, or leaves it to the hardware.
		total = p.wire
	}
	if b[0]>>4 != 4 || header < ipv4MinLen || header > total {
		return Malformed
	}
	if total > p.wire {
		d.Stats.LongLengths++
	}
	p = p.limit(total)
	if len(p.b) < header {
		return p.short(header)
	}
	putIPv4(&seg.SrcIP, b[12:16])
	putIPv4(&seg.DstIP, b[16:20])
	proto := b[9]
	p = p.skip(header)

	const moreFragments, offsetMask = 0x2000, 0x1fff
	if f := be16(b[6:8]); f&(moreFragments|offsetMask) != 0 {
		key := fragmentKey{src: seg.SrcIP, dst: seg.DstIP, id: uint32(be16(b[4:6])), proto: proto}
		var r Result
		if p, proto, r = d.fragment(key, f&offsetMask*8, f&moreFragments != 0, proto, p, seg.Time); r != 0 {
			return r
		}
	}
	return d.transport(proto, p, seg)
}

// transport decodes what an IP packet carries. It expects the addresses in seg.
func (d *Decoder) transport(proto uint8, p rest, seg *flow.Segment) Result {
	if proto == protoAH {
		// IPv6 has skipped AH among its other extension headers; here it is IPv4's.
		n := extensionLen(protoAH, p.b)
		if n == 0 || len(p.b) < n {
			return p.short(max(n, minExtensionLen))
		}
		proto, p = p.b[0], p.skip(n)
	}
	switch proto {
	case protoTCP:
		return d.tcp(p, seg)
	case protoUDP:
		return d.udp(p, seg)
	case protoIPv4:
		return d.ipv4(p, seg)
	case protoIPv6:
		return d.ipv6(p, seg)
	case protoGRE:
		return d.gre(p, seg)
	}
	return OtherProtocol
}
