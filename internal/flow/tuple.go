// Package flow holds the words that every part of dynwatch shares: the five-tuple, the segment that a capture source hands to
// the analysis, and the process that owns a connection.
//
// It has no behaviour beyond conversions and comparisons, allocates nothing on the packet path, and imports nothing of this module.
package flow

import (
	"encoding/binary"
	"net/netip"
)

// IP is an address of either family in 16 bytes, network byte order; IPv4 stands as ::ffff:a.b.c.d (RFC 4291, Section 2.5.5.2).
// It has no pointers and compares with ==, so it can be part of a map key that the collector never scans.
type IP [16]byte

// IPFrom4 returns the IPv4 address whose four bytes begin b. b must hold at least four bytes.
func IPFrom4(b []byte) IP {
	var ip IP
	_ = b[3]
	ip[10], ip[11] = 0xff, 0xff
	ip[12], ip[13], ip[14], ip[15] = b[0], b[1], b[2], b[3]
	return ip
}

// IPFrom16 returns the address whose 16 bytes begin b. b must hold at least 16 bytes.
// An IPv4-mapped IPv6 address is the IPv4 address.
func IPFrom16(b []byte) IP { return IP(b[:16]) }

// IPFrom converts from the standard library's form; a zone is dropped.
func IPFrom(a netip.Addr) IP { return IP(a.As16()) }

// Addr converts to the standard library's form, unmapped: ::ffff:1.2.3.4 is 1.2.3.4.
func (ip IP) Addr() netip.Addr { return netip.AddrFrom16(ip).Unmap() }

// Is4 reports whether ip is an IPv4 address.
func (ip IP) Is4() bool {
	return binary.BigEndian.Uint64(ip[:8]) == 0 && binary.BigEndian.Uint32(ip[8:12]) == 0xffff
}

// String is the address in the usual text form, unmapped.
func (ip IP) String() string { return ip.Addr().String() }

// Proto is an IP protocol number (IANA "Protocol Numbers").
type Proto uint8

// The two protocols that dynwatch reads.
const (
	TCP Proto = 6
	UDP Proto = 17
)

// String is the lower-case name, as it stands in the JSON output.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "unknown"
}

// FiveTuple is the addressing of one packet: source to destination.
type FiveTuple struct {
	SrcIP, DstIP     IP
	SrcPort, DstPort uint16
	Proto            Proto
}

// Reverse is the five-tuple of a packet that answers this one.
func (t FiveTuple) Reverse() FiveTuple {
	return FiveTuple{SrcIP: t.DstIP, DstIP: t.SrcIP, SrcPort: t.DstPort, DstPort: t.SrcPort, Proto: t.Proto}
}

// Src is the source in the standard library's form, unmapped.
func (t FiveTuple) Src() netip.AddrPort { return netip.AddrPortFrom(t.SrcIP.Addr(), t.SrcPort) }

// Dst is the destination in the standard library's form, unmapped.
func (t FiveTuple) Dst() netip.AddrPort { return netip.AddrPortFrom(t.DstIP.Addr(), t.DstPort) }
