package decode

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// Protocol values of cooked captures that are no EtherTypes (linux/if_ether.h).
const (
	ethP8022   = 0x0004 // an 802.2 LLC header follows
	arpNetlink = 824    // ARPHRD_NETLINK: the protocol is a netlink family, not an EtherType
)

// sll decodes a Linux cooked capture (LINKTYPE_LINUX_SLL): packet type, ARPHRD type, address length, address (8), protocol.
func (d *Decoder) sll(p rest, seg *flow.Segment) Result {
	const sllLen = 16
	if len(p.b) < sllLen {
		return p.short(sllLen)
	}
	return d.cooked(be16(p.b[2:4]), be16(p.b[14:16]), p.skip(sllLen), seg)
}

// sll2 decodes version 2 (LINKTYPE_LINUX_SLL2): protocol, reserved, interface index (4), ARPHRD type, packet type, address length, address (8).
func (d *Decoder) sll2(p rest, seg *flow.Segment) Result {
	const sll2Len = 20
	if len(p.b) < sll2Len {
		return p.short(sll2Len)
	}
	return d.cooked(be16(p.b[8:10]), be16(p.b[0:2]), p.skip(sll2Len), seg)
}

func (d *Decoder) cooked(arphrd, protocol int, p rest, seg *flow.Segment) Result {
	switch {
	case arphrd == arpNetlink:
		return NotIP
	case protocol == ethP8022:
		return d.llc(p, seg)
	case protocol < minEtherType:
		return NotIP
	}
	return d.etherType(protocol, p, seg)
}

// loopback decodes the four-byte address family of LINKTYPE_NULL and LINKTYPE_LOOP. NULL has it in the byte order of a host that the file does
// not name, and files with the wrong one of the two types exist, so both orders are tried for both: families are below 256.
func (d *Decoder) loopback(p rest, seg *flow.Segment) Result {
	const familyLen = 4
	if len(p.b) < familyLen {
		return p.short(familyLen)
	}
	family := binary.BigEndian.Uint32(p.b)
	if family > 0xffff {
		family = binary.LittleEndian.Uint32(p.b)
	}
	p = p.skip(familyLen)
	switch family {
	case 2:
		return d.ipv4(p, seg)
	case 10, 24, 28, 30: // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, Darwin
		return d.ipv6(p, seg)
	}
	return NotIP
}

// rawIP decodes a packet that begins with an IP header of either version.
func (d *Decoder) rawIP(p rest, seg *flow.Segment) Result {
	if len(p.b) < 1 {
		return p.short(1)
	}
	switch p.b[0] >> 4 {
	case 4:
		return d.ipv4(p, seg)
	case 6:
		return d.ipv6(p, seg)
	}
	return NotIP
}
