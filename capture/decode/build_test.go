package decode

import (
	"encoding/binary"
	"slices"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// The builders below wrap a payload in one header each, so that a test reads from the outside in: eth(typeIPv4, ip4(protoTCP, tcp("x"))).

// The addresses and numbers that the builders put in.
var (
	src4, dst4 = [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}
	src6       = [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}
	dst6       = [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 2}
	tuple4     = flow.FiveTuple{SrcIP: flow.IPFrom4(src4[:]), DstIP: flow.IPFrom4(dst4[:]), SrcPort: 40000, DstPort: 443, Proto: flow.TCP}
	tuple6     = flow.FiveTuple{SrcIP: src6, DstIP: dst6, SrcPort: 40000, DstPort: 443, Proto: flow.TCP}
)

const (
	testSeq, testAck = 0xfffffff0, 0x01020304
	testFlags        = flow.PSH | flow.ACK
	testTime         = int64(1_700_000_000_123_456_789)
)

func u16(v int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// patch returns b with the bytes at offset replaced.
func patch(b []byte, offset int, bytes ...byte) []byte {
	b = slices.Clone(b)
	copy(b[offset:], bytes)
	return b
}

func eth(etherType int, payload []byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, u16(etherType), payload)
}

// tag is a VLAN tag's second half: the EtherType before it announced it.
func tag(vlan, etherType int, payload []byte) []byte { return cat(u16(vlan), u16(etherType), payload) }

func ip4(proto byte, payload []byte) []byte { return ip4frag(proto, 0, payload) }

// ip4frag has the flags and the offset (in units of 8) in one field, as the header does.
func ip4frag(proto byte, fragment int, payload []byte) []byte {
	return cat([]byte{0x45, 0}, u16(20+len(payload)), u16(0x1234), u16(fragment), []byte{64, proto, 0, 0}, src4[:], dst4[:], payload)
}

func ip6(next byte, payload []byte) []byte {
	return cat([]byte{0x60, 0, 0, 0}, u16(len(payload)), []byte{next, 64}, src6[:], dst6[:], payload)
}

// ext is an IPv6 extension header of n bytes.
func ext(next byte, n int, payload []byte) []byte {
	return cat([]byte{next, byte(n/8 - 1)}, make([]byte, n-2), payload)
}

// frag6 is an IPv6 fragment header; the offset is in bytes, the lowest bit says that more follow.
func frag6(next byte, fragment int, id uint32, payload []byte) []byte {
	return cat([]byte{next, 0}, u16(fragment), u32(id), payload)
}

func tcp(payload string) []byte { return tcpOptions(nil, payload) }

func tcpOptions(options []byte, payload string) []byte {
	return cat(u16(40000), u16(443), u32(testSeq), u32(testAck), []byte{byte(5+len(options)/4) << 4, byte(testFlags)}, u16(1024), u16(0), u16(0),
		options, []byte(payload))
}

func udp(src, dst int, payload []byte) []byte {
	return cat(u16(src), u16(dst), u16(udpLen+len(payload)), u16(0), payload)
}

func vxlan(payload []byte) []byte {
	return udp(50000, portVXLAN, cat([]byte{8, 0, 0, 0, 0, 0, 42, 0}, payload))
}

func geneve(etherType int, options, payload []byte) []byte {
	return udp(50000, portGENEVE, cat([]byte{byte(len(options) / 4), 0}, u16(etherType), []byte{0, 0, 42, 0}, options, payload))
}

func label(l uint32, bottom bool, payload []byte) []byte {
	l = l<<12 | 64
	if bottom {
		l |= 0x100
	}
	return cat(u32(l), payload)
}

func gre(flags, proto int, rest ...[]byte) []byte { return cat(u16(flags), u16(proto), cat(rest...)) }
