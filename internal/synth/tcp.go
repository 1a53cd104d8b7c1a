package synth

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Packet is one Ethernet frame with its time.
type Packet struct {
	Time time.Time
	Data []byte
}

// Flow says how a dialogue travels.
type Flow struct {
	Client, Server netip.AddrPort
	Start          time.Time
	// RTT is the time between packets of opposite directions; 1 ms if zero.
	RTT time.Duration
	// MSS is the most payload a segment carries; 1448 if zero.
	MSS int
	// ClientISN and ServerISN are the initial sequence numbers.
	ClientISN, ServerISN uint32
	// Reset ends the flow by the client's RST instead of FINs; Open leaves it without an end.
	Reset, Open bool
	// NoSYN leaves the three-way handshake out.
	NoSYN bool
}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

type tcpSender struct {
	f          Flow
	now        time.Time
	seq        [2]uint32 // next sequence number of client (0) and server (1)
	out        []Packet
	lastSender int
	ipID       uint16
}

// Packets wraps a dialogue in TCP over IPv4 or IPv6 over Ethernet, with valid checksums.
func (f Flow) Packets(d Dialogue) []Packet {
	if f.RTT == 0 {
		f.RTT = time.Millisecond
	}
	if f.MSS == 0 {
		f.MSS = 1448
	}
	s := &tcpSender{f: f, now: f.Start, seq: [2]uint32{f.ClientISN, f.ServerISN}}
	if !f.NoSYN {
		s.send(0, flagSYN, nil)
		s.seq[0]++
		s.send(1, flagSYN|flagACK, nil)
		s.seq[1]++
		s.send(0, flagACK, nil)
	} else {
		s.seq[0]++
		s.seq[1]++
	}
	for _, m := range d {
		from := 0
		if !m.FromClient {
			from = 1
		}
		for data := m.Data; len(data) > 0; {
			n := min(len(data), f.MSS)
			flags := byte(flagACK)
			if n == len(data) {
				flags |= flagPSH
			}
			s.send(from, flags, data[:n])
			s.seq[from] += uint32(n)
			data = data[n:]
		}
		s.send(1-from, flagACK, nil)
	}
	switch {
	case f.Open:
	case f.Reset:
		s.send(0, flagRST|flagACK, nil)
	default:
		s.send(0, flagFIN|flagACK, nil)
		s.seq[0]++
		s.send(1, flagFIN|flagACK, nil)
		s.seq[1]++
		s.send(0, flagACK, nil)
	}
	return s.out
}

func (s *tcpSender) send(from int, flags byte, payload []byte) {
	if len(s.out) > 0 {
		if from != s.lastSender {
			s.now = s.now.Add(s.f.RTT / 2)
		} else {
			s.now = s.now.Add(10 * time.Microsecond)
		}
	}
	s.lastSender = from
	src, dst := s.f.Client, s.f.Server
	if from == 1 {
		src, dst = dst, src
	}
	ack := uint32(0)
	if flags&flagACK != 0 {
		ack = s.seq[1-from]
	}
	s.ipID++
	s.out = append(s.out, Packet{s.now, Frame(src, dst, s.seq[from], ack, flags, s.ipID, payload)})
}

// Frame builds one Ethernet frame with a TCP segment in it.
func Frame(src, dst netip.AddrPort, seq, ack uint32, flags byte, id uint16, payload []byte) []byte {
	tcp := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(tcp[0:], src.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	tcp = append(tcp, payload...)
	binary.BigEndian.PutUint16(tcp[16:], transportChecksum(src.Addr(), dst.Addr(), 6, tcp))
	return ethernet(src.Addr(), dst.Addr(), 6, id, tcp)
}

// UDP builds one Ethernet frame with a UDP datagram in it.
func UDP(src, dst netip.AddrPort, payload []byte) []byte {
	udp := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(udp[0:], src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	udp = append(udp, payload...)
	binary.BigEndian.PutUint16(udp[6:], transportChecksum(src.Addr(), dst.Addr(), 17, udp))
	return ethernet(src.Addr(), dst.Addr(), 17, 0, udp)
}

func ethernet(src, dst netip.Addr, proto byte, id uint16, transport []byte) []byte {
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	if src.Is4() {
		frame = append(frame, 0x08, 0x00)
		ip := make([]byte, 20)
		ip[0] = 0x45
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(transport)))
		binary.BigEndian.PutUint16(ip[4:], id)
		ip[6], ip[8], ip[9] = 0x40, 64, proto
		s, d := src.As4(), dst.As4()
		copy(ip[12:], s[:])
		copy(ip[16:], d[:])
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))
		return append(append(frame, ip...), transport...)
	}
	frame = append(frame, 0x86, 0xdd)
	ip := make([]byte, 40)
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(transport)))
	ip[6], ip[7] = proto, 64
	s, d := src.As16(), dst.As16()
	copy(ip[8:], s[:])
	copy(ip[24:], d[:])
	return append(append(frame, ip...), transport...)
}

func transportChecksum(src, dst netip.Addr, proto byte, transport []byte) uint16 {
	acc := sum(0, src.AsSlice())
	acc = sum(acc, dst.AsSlice())
	acc += uint32(proto) + uint32(len(transport))
	return ^fold(sum(acc, transport))
}

// sum adds 16-bit words (RFC 1071). Its code is not shared with the program, whose tests compare checksums with these.
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
