package traffic

import (
	"encoding/binary"
	"net/netip"
)

// Lengths of headers in bytes.
const (
	fileHeader   = 24
	recordHeader = 16
	ethernetLen  = 14
	ipv4Len      = 20
	ipv6Len      = 40
	tcpLen       = 32 // with the timestamps option (RFC 7323)
	tcpSYNLen    = 40 // with maximum segment size, SACK permitted, timestamps, window scale
	udpLen       = 8
)

// end is one end of a flow.
type end struct {
	ip   netip.Addr
	port uint16
}

// header is what a frame needs beside its step.
type header struct {
	proto    uint8
	src, dst end
	seq, ack uint32
	// val and ecr are the numbers of the timestamps option, id the IPv4 header's.
	val, ecr uint32
	id       uint16
}

// frameLen is the length of a step's frame in bytes.
func (s *script) frameLen(st *step, ipv6 bool) int {
	n := ethernetLen + len(st.payload)
	if s.proto == arp {
		return n
	}
	if ipv6 {
		n += ipv6Len
	} else {
		n += ipv4Len
	}
	return n + transportLen(s.proto, st.flags)
}

// transportLen is the length of the header behind IP's.
func transportLen(proto, flags uint8) int {
	switch {
	case proto == tcp && flags&syn != 0:
		return tcpSYNLen
	case proto == tcp:
		return tcpLen
	case proto == udp:
		return udpLen
	}
	return 0
}

// appendFrame appends a step's frame to b, checksums right. Nothing is padded to Ethernet's minimum, as on the sending host.
func appendFrame(b []byte, h *header, st *step) []byte {
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	if h.proto == arp {
		return append(append(b, 0x08, 0x06), st.payload...)
	}
	n := transportLen(h.proto, st.flags) + len(st.payload)
	var pseudo uint32
	if h.src.ip.Is4() {
		b = append(b, 0x08, 0x00)
		ip := [ipv4Len]byte{0: 0x45, 6: 0x40, 8: 64, 9: h.proto}
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+n))
		binary.BigEndian.PutUint16(ip[4:], h.id)
		src, dst := h.src.ip.As4(), h.dst.ip.As4()
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
		binary.BigEndian.PutUint16(ip[10:], checksum(sum(0, ip[:])))
		pseudo = sum(0, ip[12:])
		b = append(b, ip[:]...)
	} else {
		b = append(b, 0x86, 0xdd)
		ip := [ipv6Len]byte{0: 0x60, 6: h.proto, 7: 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(n))
		src, dst := h.src.ip.As16(), h.dst.ip.As16()
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		pseudo = sum(0, ip[8:])
		b = append(b, ip[:]...)
	}
	pseudo += uint32(h.proto) + uint32(n) + st.sum
	switch h.proto {
	case tcp:
		b = appendTCP(b, h, st.flags, pseudo)
	case udp:
		u := [udpLen]byte{}
		binary.BigEndian.PutUint16(u[0:], h.src.port)
		binary.BigEndian.PutUint16(u[2:], h.dst.port)
		binary.BigEndian.PutUint16(u[4:], uint16(n))
		binary.BigEndian.PutUint16(u[6:], checksum(sum(pseudo, u[:])))
		b = append(b, u[:]...)
	}
	return append(b, st.payload...)
}

func appendTCP(b []byte, h *header, flags uint8, pseudo uint32) []byte {
	t := [tcpSYNLen]byte{13: flags}
	n := tcpLen
	binary.BigEndian.PutUint16(t[0:], h.src.port)
	binary.BigEndian.PutUint16(t[2:], h.dst.port)
	binary.BigEndian.PutUint32(t[4:], h.seq)
	binary.BigEndian.PutUint32(t[8:], h.ack)
	binary.BigEndian.PutUint16(t[14:], 502)
	options := t[20:]
	if flags&syn != 0 {
		n = tcpSYNLen
		binary.BigEndian.PutUint16(t[14:], 64240)
		copy(options, []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10}) // 1460 bytes; the timestamps follow
		copy(options[16:], []byte{1, 3, 3, 7})
		options = options[6:]
	} else {
		copy(options, []byte{1, 1, 8, 10})
		options = options[2:]
	}
	binary.BigEndian.PutUint32(options[2:], h.val)
	binary.BigEndian.PutUint32(options[6:], h.ecr)
	t[12] = uint8(n/4) << 4
	binary.BigEndian.PutUint16(t[16:], checksum(sum(pseudo, t[:n])))
	return append(b, t[:n]...)
}

// sum adds the 16-bit words of b to acc (RFC 1071), folded.
func sum(acc uint32, b []byte) uint32 {
	wide := uint64(acc)
	for ; len(b) >= 4; b = b[4:] {
		wide += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		wide += uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		wide += uint64(b[0]) << 8
	}
	for wide>>16 != 0 {
		wide = wide&0xffff + wide>>16
	}
	return uint32(wide)
}

func checksum(acc uint32) uint16 { return ^uint16(sum(acc, nil)) }

// appendFileHeader appends the header of a pcap file: microseconds, Ethernet.
func appendFileHeader(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	return binary.LittleEndian.AppendUint32(b, 1)
}

// appendRecordHeader appends the header of one packet; at is in nanoseconds since the Unix epoch.
func appendRecordHeader(b []byte, at int64, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(at/1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(at%1e9/1e3))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}
