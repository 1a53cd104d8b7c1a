package decode

import (
	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	// ethernetLen is destination, source, type or length (IEEE 802.3, Clause 3.1.1).
	ethernetLen = 14
	// minEtherType is the smallest value that is a type; below it the field is a length and LLC follows.
	minEtherType = 0x0600
	// maxTags bounds the VLAN tags of one frame and the labels of one MPLS stack. Two tags are usual, providers reach four.
	maxTags = 16
)

// EtherTypes, from the IEEE registry.
const (
	typeIPv4       = 0x0800
	typeIPv6       = 0x86dd
	typeVLAN       = 0x8100 // 802.1Q; VLAN 0 is a priority tag and looks alike
	typeQinQ       = 0x88a8 // 802.1ad
	typeQinQ9100   = 0x9100 // its predecessors, never registered
	typeQinQ9200   = 0x9200
	typeTEB        = 0x6558 // transparent Ethernet bridging
	typeMPLS       = 0x8847
	typeMPLSMulti  = 0x8848
	typePPPoE      = 0x8864 // session stage
	typePPP        = 0x880b
	typeERSPAN     = 0x88be // types I and II
	typeERSPAN3    = 0x22eb
	typeARP        = 0x0806
	typeRARP       = 0x8035
	typeLoopback   = 0x9000
	typePPPoEDisc  = 0x8863
	typeEAPOL      = 0x888e
	typeSlow       = 0x8809 // LACP and the like
	typeLLDP       = 0x88cc
	typePTP        = 0x88f7
	typeAoE        = 0x88a2
	typeFCoE       = 0x8906
	typeWakeOnLAN  = 0x0842
	typePauseFrame = 0x8808
)

// ethernet decodes a MAC frame, without preamble; a frame check sequence at the end passes as padding.
func (d *Decoder) ethernet(p rest, seg *flow.Segment) Result {
	if !d.deeper() {
		return TooDeep
	}
	if len(p.b) < ethernetLen {
		return p.short(ethernetLen)
	}
	t := be16(p.b[12:14])
	return d.etherType(t, p.skip(ethernetLen), seg)
}

// etherType decodes what an EtherType announces, past any VLAN tags. A value that is a length announces LLC.
func (d *Decoder) etherType(t int, p rest, seg *flow.Segment) Result {
	for tags := 0; ; tags++ {
		switch t {
		case typeIPv4:
			return d.ipv4(p, seg)
		case typeIPv6:
			return d.ipv6(p, seg)
		case typeVLAN, typeQinQ, typeQinQ9100, typeQinQ9200:
			// A tag is two bytes of priority and VLAN id, then the type of what follows (IEEE 802.1Q, Clause 9).
			const tagLen = 4
			if tags == maxTags {
				return TooDeep
			}
			if len(p.b) < tagLen {
				return p.short(tagLen)
			}
			t = be16(p.b[2:4])
			p = p.skip(tagLen)
			continue
		case typeMPLS, typeMPLSMulti:
			return d.mpls(p, seg)
		case typePPPoE:
			return d.pppoe(p, seg)
		case typePPP:
			return d.ppp(p, seg)
		case typeTEB:
			return d.ethernet(p, seg)
		case typeARP, typeRARP, typeLoopback, typePPPoEDisc, typeEAPOL, typeSlow, typeLLDP, typePTP, typeAoE, typeFCoE, typeWakeOnLAN,
			typePauseFrame:
			return NotIP
		}
		if t < minEtherType {
			// A length larger than the frame is a mistake of the sender's and harmless: IP has its own.
			if t < p.wire {
				p = p.limit(t)
			}
			return d.llc(p, seg)
		}
		d.Stats.UnknownEtherTypes++
		return NotIP
	}
}

// llc decodes an 802.2 header: IP directly (SAP 6) or behind SNAP (RFC 1042). All else that uses LLC is not IP.
func (d *Decoder) llc(p rest, seg *flow.Segment) Result {
	const (
		llcLen  = 3 // DSAP, SSAP, control (unnumbered information)
		snapLen = 5 // organisation, protocol
		sapSNAP = 0xaa
		sapIP   = 0x06
		uiFrame = 0x03
	)
	if len(p.b) < llcLen {
		return p.short(llcLen)
	}
	if p.b[2] != uiFrame {
		return NotIP
	}
	switch {
	case p.b[0] == sapIP && p.b[1] == sapIP:
		return d.ipv4(p.skip(llcLen), seg)
	case p.b[0] == sapSNAP && p.b[1] == sapSNAP:
		p = p.skip(llcLen)
		if len(p.b) < snapLen {
			return p.short(snapLen)
		}
		// Organisation 0 is "an EtherType follows", 0000f8 the same for what bridges had to tunnel (IEEE 802.1H).
		if p.b[0] != 0 || p.b[1] != 0 || p.b[2] != 0 && p.b[2] != 0xf8 {
			return NotIP
		}
		t := be16(p.b[3:5])
		if t < minEtherType {
			return NotIP
		}
		return d.etherType(t, p.skip(snapLen), seg)
	}
	return NotIP
}
