package decode

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	// ipv6Len is the fixed header (RFC 8200, Section 3).
	ipv6Len = 40
	// minExtensionLen is the smallest extension header, a multiple of 8 bytes (RFC 6564, Section 4).
	minExtensionLen = 8
	// maxExtensions bounds the chain of extension headers. RFC 8200 knows each kind once, destination options twice.
	maxExtensions = 16
)

// ipv6 decodes an IPv6 packet with its extension headers.
func (d *Decoder) ipv6(p rest, seg *flow.Segment) Result {
	if !d.deeper() {
		return TooDeep
	}
	if len(p.b) < ipv6Len {
		return p.short(ipv6Len)
	}
	b := p.b
	if b[0]>>4 != 6 {
		return Malformed
	}
	total := ipv6Len + be16(b[4:6])
	if total == ipv6Len {
		// A jumbogram (RFC 2675), or segmentation offload: the frame ends where the packet does.
		total = p.wire
	}
	if total > p.wire {
		d.Stats.LongLengths++
	}
	seg.SrcIP = flow.IP(b[8:24])
	seg.DstIP = flow.IP(b[24:40])
	next := b[6]
	p = p.limit(total).skip(ipv6Len)

	for range maxExtensions {
		switch next {
		case protoHopByHop, protoRouting, protoDestination, protoMobility, protoHIP, protoShim6, protoAH:
			n := extensionLen(next, p.b)
			if n == 0 || len(p.b) < n {
				return p.short(max(n, minExtensionLen))
			}
			next, p = p.b[0], p.skip(n)
		case protoFragment:
			var r Result
			if p, next, r = d.fragment6(p, seg); r != 0 {
				return r
			}
		default:
			return d.transport(next, p, seg)
		}
	}
	return TooDeep
}

// extensionLen is the length of the extension header that begins b, or 0 where not even its length field was captured.
func extensionLen(proto uint8, b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if proto == protoAH {
		return (int(b[1]) + 2) * 4 // RFC 4302, Section 2.2: in units of 4 bytes, minus 2
	}
	return (int(b[1]) + 1) * 8
}

// fragment6 decodes a fragment header (RFC 8200, Section 4.5): next header, reserved, offset and more-flag, identification. An atomic fragment
// is a whole packet and never meets others (RFC 6946). A result of 0 means: go on with the packet and the next header returned.
func (d *Decoder) fragment6(p rest, seg *flow.Segment) (rest, uint8, Result) {
	const fragmentLen = 8
	if len(p.b) < fragmentLen {
		return p, 0, p.short(fragmentLen)
	}
	next, f, id := p.b[0], be16(p.b[2:4]), binary.BigEndian.Uint32(p.b[4:8])
	offset, more := f&^7, f&1 != 0
	p = p.skip(fragmentLen)
	if offset == 0 && !more {
		return p, next, 0
	}
	return d.fragment(fragmentKey{src: seg.SrcIP, dst: seg.DstIP, id: id, v6: true}, offset, more, next, p, seg.Time)
}
