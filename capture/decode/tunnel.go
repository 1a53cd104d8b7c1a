package decode

import "github.com/dynwatch/dynwatch/internal/flow"

// tunnel decodes the payload of a UDP datagram to the port dst. One that does not look like the port's tunnel is just a datagram.
func (d *Decoder) tunnel(dst int, p rest, seg *flow.Segment) Result {
	const headerLen = 8 // all of them begin with as much
	switch dst {
	case portVXLAN, portVXLANOld, portVXLANGPE, portGENEVE, portGTPU:
		if len(p.b) < headerLen && p.wire >= headerLen {
			return Truncated
		}
	}
	if len(p.b) < headerLen {
		return OtherProtocol
	}
	switch dst {
	case portVXLAN, portVXLANOld:
		return d.vxlan(p, seg)
	case portVXLANGPE:
		return d.vxlanGPE(p, seg)
	case portGENEVE:
		return d.geneve(p, seg)
	case portGTPU:
		return d.gtp(p, seg)
	}
	return OtherProtocol
}

// vxlan decodes VXLAN (RFC 7348, Section 5): flags, reserved (3; the group policy extension uses them), VNI (3), reserved. The flag that says
// the VNI is valid must be set.
func (d *Decoder) vxlan(p rest, seg *flow.Segment) Result {
	const vxlanLen, validVNI = 8, 0x08
	if p.b[0]&validVNI == 0 {
		return OtherProtocol
	}
	return d.ethernet(p.skip(vxlanLen), seg)
}

// vxlanGPE decodes the generic extension (draft-ietf-nvo3-vxlan-gpe): as VXLAN, with the inner protocol in byte 3 where flag P is set.
func (d *Decoder) vxlanGPE(p rest, seg *flow.Segment) Result {
	const vxlanLen, validVNI, hasProtocol, isOAM = 8, 0x08, 0x04, 0x01
	flags, proto := p.b[0], p.b[3]
	if flags&0xc0 != 0 || flags&validVNI == 0 || flags&isOAM != 0 {
		return OtherProtocol
	}
	p = p.skip(vxlanLen)
	if flags&hasProtocol == 0 {
		return d.ethernet(p, seg)
	}
	switch proto {
	case 1:
		return d.ipv4(p, seg)
	case 2:
		return d.ipv6(p, seg)
	case 3:
		return d.ethernet(p, seg)
	}
	return OtherProtocol
}

// geneve decodes GENEVE (RFC 8926, Section 3.4): version and options length in units of 4, flags, EtherType, VNI (3), reserved, options. AWS
// Gateway Load Balancers speak it, with options. Packets with the control flag carry no user data.
func (d *Decoder) geneve(p rest, seg *flow.Segment) Result {
	const geneveLen, isControl = 8, 0x80
	if p.b[0]>>6 != 0 || p.b[1]&isControl != 0 {
		return OtherProtocol
	}
	header, t := geneveLen+int(p.b[0]&0x3f)*4, be16(p.b[2:4])
	if t < minEtherType {
		return OtherProtocol
	}
	if len(p.b) < header {
		return p.short(header)
	}
	return d.etherType(t, p.skip(header), seg)
}

// gtp decodes GTP-U version 1 (3GPP TS 29.281, Section 5.1): flags, message type, length behind the first 8 bytes, tunnel id (4), and, if any of
// three flags is set, sequence number (2), N-PDU number, type of the first extension header.
func (d *Decoder) gtp(p rest, seg *flow.Segment) Result {
	const (
		gtpLen, optionalLen = 8, 4
		versionMask         = 0xf0
		version1            = 0x30 // version 1, protocol type GTP
		hasOptional         = 0x07
		hasExtension        = 0x04
		userData            = 255
	)
	flags := p.b[0]
	if flags&versionMask != version1 || p.b[1] != userData {
		return OtherProtocol
	}
	n := be16(p.b[2:4])
	p = p.skip(gtpLen)
	if n < p.wire {
		p = p.limit(n)
	}
	if flags&hasOptional == 0 {
		return d.rawIP(p, seg)
	}
	if len(p.b) < optionalLen {
		return p.short(optionalLen)
	}
	next := p.b[3]
	p = p.skip(optionalLen)
	if flags&hasExtension == 0 {
		return d.rawIP(p, seg)
	}
	// An extension header is its length in units of 4, contents, and the type of the next one (Section 5.2.1).
	for range maxExtensions {
		if next == 0 {
			return d.rawIP(p, seg)
		}
		if len(p.b) < 1 {
			return p.short(1)
		}
		n := int(p.b[0]) * 4
		if n == 0 {
			return Malformed
		}
		if len(p.b) < n {
			return p.short(n)
		}
		next = p.b[n-1]
		p = p.skip(n)
	}
	return TooDeep
}
