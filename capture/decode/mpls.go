package decode

import "github.com/dynwatch/dynwatch/internal/flow"

// mpls decodes a label stack (RFC 3032, Section 2.1) and guesses what follows, which the stack does not tell: IPv4 and IPv6 by their version,
// Ethernet of a pseudowire by the 0 of its control word (RFC 4385, Section 3), or, without control word, by a known EtherType at
// the right place. A MAC address may begin with any nibble, so a packet is IPv4 only if its lengths agree as well.
func (d *Decoder) mpls(p rest, seg *flow.Segment) Result {
	const (
		labelLen       = 4
		controlWordLen = 4
	)
	for labels := 0; ; labels++ {
		if labels == maxTags {
			return TooDeep
		}
		if len(p.b) < labelLen {
			return p.short(labelLen)
		}
		bottom := p.b[2]&1 != 0
		p = p.skip(labelLen)
		if bottom {
			break
		}
	}
	if len(p.b) < 1 {
		return p.short(1)
	}
	nibble := p.b[0] >> 4
	switch {
	case nibble == 4 && !(looksLikeEthernet(p) && !consistentIPv4(p)):
		return d.ipv4(p, seg)
	case nibble == 6 && !looksLikeEthernet(p):
		return d.ipv6(p, seg)
	case nibble == 0 && len(p.b) > controlWordLen && looksLikeEthernet(p.skip(controlWordLen)):
		return d.ethernet(p.skip(controlWordLen), seg)
	case looksLikeEthernet(p):
		return d.ethernet(p, seg)
	}
	return NotIP
}

// looksLikeEthernet reports whether p may begin with an Ethernet header: an EtherType of IP or a VLAN tag, and behind IP's the right version.
func looksLikeEthernet(p rest) bool {
	if len(p.b) <= ethernetLen {
		return false
	}
	switch be16(p.b[12:14]) {
	case typeIPv4:
		return p.b[ethernetLen]>>4 == 4
	case typeIPv6:
		return p.b[ethernetLen]>>4 == 6
	case typeVLAN, typeQinQ:
		return true
	}
	return false
}

// consistentIPv4 reports whether the lengths of an IPv4 header agree with each other and with the packet.
func consistentIPv4(p rest) bool {
	if len(p.b) < ipv4MinLen {
		return false
	}
	header, total := int(p.b[0]&0x0f)*4, be16(p.b[2:4])
	return header >= ipv4MinLen && header <= total && total <= p.wire
}
