// Package rawip builds the IP and TCP headers of a segment that came without any: sources that watch sockets see a segment's facts and bytes,
// and no packet. With its payload behind them they make a packet that every analyser of captures reads.
//
//	head := rawip.AppendHead(nil, &seg)
//	packet := append(head, seg.Payload...)
//
// Addresses, ports, sequence and acknowledgement numbers, flags, and lengths are the segment's own. What a segment does not have is made up, and
// the same in every packet, so that nobody takes it for an observation: time to live 64, window 65535, no options, and fragmentation forbidden.
package rawip

import (
	"encoding/binary"
	"math"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20

	timeToLive   = 64
	window       = 65535
	dontFragment = 0x40
)

// AppendHead appends the headers of a TCP segment to buf: IPv4's if both addresses are IPv4, else IPv6's, and TCP's.
//
// The lengths in them are those on the wire, also where the payload was cut, and 0 if they do not fit into 16 bits, as the kernel itself has
// it for packets that are yet to be split. The TCP checksum is right if the payload is whole, and 0 where it cannot be known.
func AppendHead(buf []byte, seg *flow.Segment) []byte {
	length := max(seg.Length, len(seg.Payload))
	begin := len(buf)
	var pseudo uint32 // sum of the pseudo-header (RFC 9293, Section 3.1)
	if seg.SrcIP.Is4() && seg.DstIP.Is4() {
		buf = append(buf,
			0x45, 0, 0, 0,
			0, 0, dontFragment, 0,
			timeToLive, byte(flow.TCP), 0, 0)
		buf = append(buf, seg.SrcIP[12:]...)
		buf = append(buf, seg.DstIP[12:]...)
		binary.BigEndian.PutUint16(buf[begin+2:], fits(ipv4Header+tcpHeader+length))
		binary.BigEndian.PutUint16(buf[begin+10:], ^fold(sum(0, buf[begin:])))
		pseudo = sum(0, buf[begin+12:])
	} else {
		buf = append(buf, 0x60, 0, 0, 0, 0, 0, byte(flow.TCP), timeToLive)
		buf = append(buf, seg.SrcIP[:]...)
		buf = append(buf, seg.DstIP[:]...)
		binary.BigEndian.PutUint16(buf[begin+4:], fits(tcpHeader+length))
		pseudo = sum(0, buf[begin+8:])
	}
	tcp := len(buf)
	buf = binary.BigEndian.AppendUint16(buf, seg.SrcPort)
	buf = binary.BigEndian.AppendUint16(buf, seg.DstPort)
	buf = binary.BigEndian.AppendUint32(buf, seg.Seq)
	ack := seg.Ack
	if !seg.Flags.Has(flow.ACK) {
		ack = 0
	}
	buf = binary.BigEndian.AppendUint32(buf, ack)
	buf = append(buf, tcpHeader/4<<4, byte(seg.Flags))
	buf = binary.BigEndian.AppendUint16(buf, window)
	buf = append(buf, 0, 0, 0, 0)
	if len(seg.Payload) == length {
		acc := pseudo + uint32(flow.TCP) + uint32(tcpHeader+length)
		binary.BigEndian.PutUint16(buf[tcp+16:], ^fold(sum(sum(acc, buf[tcp:]), seg.Payload)))
	}
	return buf
}

// fits is a length for a field of 16 bits.
func fits(n int) uint16 {
	if n > math.MaxUint16 {
		return 0
	}
	return uint16(n)
}

// sum adds 16-bit words (RFC 1071).
func sum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
		acc = acc&0xffff + acc>>16
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc>>16 != 0 {
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}
