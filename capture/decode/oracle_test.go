package decode

import (
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// gopacketView is what gopacket makes of a frame: the innermost TCP segment, or UDP datagram from or to port 53.
type gopacketView struct {
	seg flow.Segment
	// found says that gopacket got as far as the header; failed, that it stopped at an error, maybe behind it.
	found bool
	err   error
	stack []gopacket.LayerType
}

// gopacketDecode decodes one frame with gopacket's layers. Length comes from the IP header; gopacket itself does not work it out.
func gopacketDecode(link LinkType, data []byte) gopacketView {
	var v gopacketView
	switch link {
	case LinkIPv4, LinkIPv6:
		link = LinkRaw // v1.1.19 names the two and has no decoder for them
	case LinkSLL2:
		// Nor does it know this one. The corpus has only IP in it.
		if len(data) < 20 {
			return v
		}
		link, data = LinkRaw, data[20:]
	}
	p := gopacket.NewPacket(data, layers.LinkType(link), gopacket.DecodeOptions{NoCopy: true})
	if e := p.ErrorLayer(); e != nil {
		v.err = e.Error()
	}
	var src, dst net.IP
	var wire int // length of what the headers so far carry
	for _, l := range p.Layers() {
		v.stack = append(v.stack, l.LayerType())
		switch l := l.(type) {
		case *layers.IPv4:
			src, dst, wire = l.SrcIP, l.DstIP, int(l.Length)-int(l.IHL)*4
		case *layers.IPv6:
			src, dst, wire = l.SrcIP, l.DstIP, int(l.Length)
		case *layers.IPv6HopByHop, *layers.IPv6Destination, *layers.IPv6Routing, *layers.IPv6Fragment:
			wire -= len(l.LayerContents())
		case *layers.TCP:
			if len(l.Contents) < tcpMinLen || src == nil {
				continue
			}
			v.found = true
			v.seg = flow.Segment{
				FiveTuple: flow.FiveTuple{SrcIP: ip(src), DstIP: ip(dst), SrcPort: uint16(l.SrcPort), DstPort: uint16(l.DstPort), Proto: flow.TCP},
				Seq:       l.Seq, Ack: l.Ack, Flags: flow.TCPFlags(l.Contents[13]), Payload: l.Payload,
				Length: wire - int(l.DataOffset)*4,
			}
		case *layers.UDP:
			if l.SrcPort != portDNS && l.DstPort != portDNS || src == nil {
				continue
			}
			v.found = true
			v.seg = flow.Segment{
				FiveTuple: flow.FiveTuple{SrcIP: ip(src), DstIP: ip(dst), SrcPort: uint16(l.SrcPort), DstPort: uint16(l.DstPort), Proto: flow.UDP},
				Payload:   l.Payload, Length: int(l.Length) - udpLen,
			}
		}
	}
	return v
}

func ip(a net.IP) flow.IP {
	if len(a) == 4 {
		return flow.IPFrom4(a)
	}
	return flow.IPFrom16(a)
}

// sameSegment compares everything but time and what the caller fills.
func sameSegment(a, b *flow.Segment) bool {
	return a.FiveTuple == b.FiveTuple && a.Seq == b.Seq && a.Ack == b.Ack && a.Flags == b.Flags && a.Length == b.Length && string(a.Payload) == string(b.Payload)
}
