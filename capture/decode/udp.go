package decode

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const udpLen = 8

// UDP ports that are looked behind (IANA "Service Names and Port Numbers"; 8472 is what Linux used for VXLAN before 4789 was assigned, and
// flannel and Cilium still do).
const (
	portDNS      = 53
	portGTPU     = 2152
	portVXLAN    = 4789
	portVXLANGPE = 4790
	portGENEVE   = 6081
	portVXLANOld = 8472
)

// udp decodes a UDP datagram: a tunnel, or DNS. Multicast DNS (5353) is not asked about DynamoDB and counts as other.
func (d *Decoder) udp(p rest, seg *flow.Segment) Result {
	b := p.b
	if len(b) < udpLen {
		return p.short(udpLen)
	}
	src, dst, n := be16(b[0:2]), be16(b[2:4]), be16(b[4:6])
	switch {
	case n == 0: // a jumbogram (RFC 2675, Section 4), or left to the hardware
	case n < udpLen:
		return Malformed
	case n < p.wire:
		p = p.limit(n)
	}
	p = p.skip(udpLen)
	// What comes from port 53 is a resolver's answer even where the client picked a tunnel's port to ask from: tunnels send from high ports.
	if src != portDNS && dst != portDNS {
		return d.tunnel(dst, p, seg)
	}
	seg.SrcPort = binary.BigEndian.Uint16(b[0:2])
	seg.DstPort = binary.BigEndian.Uint16(b[2:4])
	seg.Proto = flow.UDP
	seg.Seq, seg.Ack, seg.Flags = 0, 0, 0
	d.setPayload(p, seg)
	return Segment
}
