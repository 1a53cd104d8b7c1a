package decode

import (
	"encoding/binary"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// tcpMinLen is a TCP header without options (RFC 9293, Section 3.1).
const tcpMinLen = 20

// tcp decodes a TCP segment. Where only options were cut off, all that a Segment says is known, and it is given without payload: a capture
// with a snap length of 64 bytes still shows its flows and how much of them is missing.
func (d *Decoder) tcp(p rest, seg *flow.Segment) Result {
	b := p.b
	if len(b) < tcpMinLen {
		return p.short(tcpMinLen)
	}
	header := int(b[12]>>4) * 4
	if header < tcpMinLen || header > p.wire {
		return Malformed
	}
	seg.SrcPort = binary.BigEndian.Uint16(b[0:2])
	seg.DstPort = binary.BigEndian.Uint16(b[2:4])
	seg.Proto = flow.TCP
	seg.Seq = binary.BigEndian.Uint32(b[4:8])
	seg.Ack = binary.BigEndian.Uint32(b[8:12])
	seg.Flags = flow.TCPFlags(b[13])
	if header > len(b) {
		d.Stats.CutOptions++
		header, p.wire = len(b), p.wire-(header-len(b))
	}
	d.setPayload(p.skip(header), seg)
	return Segment
}

// setPayload ends the decoding of a segment.
func (d *Decoder) setPayload(p rest, seg *flow.Segment) {
	seg.Payload = p.b[:len(p.b):len(p.b)] // no append of the caller's may run into padding or other layers
	seg.Length = p.wire
	if p.wire > len(p.b) {
		d.Stats.CutPayloads++
	}
}
