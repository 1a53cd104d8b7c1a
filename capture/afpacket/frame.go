package afpacket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// frame is one packet of a ring.
type frame struct {
	// data aliases the ring and is of the ring's link type, VLAN tag included; wire is its length before the snap length cut it.
	data []byte
	wire int
	time int64 // nanoseconds since the Unix epoch
	// refused: the ring has a filter, which the packet does not match.
	refused bool
}

const (
	macsLen = 12 // destination and source, before the VLAN tag
	tagLen  = 4
	sllLen  = 16
)

// frame finds a packet behind its header. To an Ethernet frame it puts back the VLAN tag that the kernel or the network card has taken out, and
// a packet of a cooked socket gets the header of LINKTYPE_LINUX_SLL, which has no tags. Both go into the ring, into the room before the packet.
func (r *ring) frame(h *unix.Tpacket3Hdr, end int) (f frame, ok bool) {
	mac, length := int(h.Mac), int(h.Snaplen)
	start := r.at + mac
	if mac < headroom || start+length > end {
		return frame{}, false
	}
	f = frame{wire: int(h.Len), time: int64(h.Sec)*1e9 + int64(h.Nsec)}
	if r.match != nil {
		f.refused = !r.match.Match(r.mem[start:start+length], f.wire)
	}
	tpid := uint16(0)
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 || h.Hv1.Vlan_tci != 0 { // kernels before 3.0 had no such flag
		tpid = unix.ETH_P_8021Q
		if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 && h.Hv1.Vlan_tpid != 0 {
			tpid = h.Hv1.Vlan_tpid
		}
	}
	room := mac - headroom
	switch {
	case r.cooked && room >= sllLen:
		sllHeader(r.mem[start-sllLen:start], r.mem[r.at+addressOffset:r.at+headroom])
		f.data, f.wire = r.mem[start-sllLen:start+length:start+length], f.wire+sllLen
	case r.cooked:
		return frame{}, false
	case tpid != 0 && room >= tagLen && length >= macsLen:
		b := r.mem[start-tagLen : start+length : start+length]
		copy(b, b[tagLen:tagLen+macsLen])
		binary.BigEndian.PutUint16(b[macsLen:], tpid)
		binary.BigEndian.PutUint16(b[macsLen+2:], vlanTCI(r.mem[r.at:]))
		f.data, f.wire = b, f.wire+tagLen
	default:
		f.data = r.mem[start : start+length : start+length]
	}
	return f, true
}

// vlanTCI reads tp_vlan_tci: offset 32 of struct tpacket3_hdr, in the byte order of the host.
func vlanTCI(header []byte) uint16 { return uint16(binary.NativeEndian.Uint32(header[32:])) }

// sllHeader writes LINKTYPE_LINUX_SLL's header from a struct sockaddr_ll: family (2), protocol (2), interface (4), ARPHRD type (2),
// packet type (1), address length (1), address (8); the protocol is in network byte order, the rest in the host's.
func sllHeader(h, address []byte) {
	binary.BigEndian.PutUint16(h[0:], uint16(address[10]))
	binary.BigEndian.PutUint16(h[2:], binary.NativeEndian.Uint16(address[8:]))
	binary.BigEndian.PutUint16(h[4:], uint16(address[11]))
	copy(h[6:14], address[12:20])
	copy(h[14:16], address[2:4])
}
