package decode

import (
	"encoding/binary"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// LinkType is a value of the LINKTYPE_ registry (https://www.tcpdump.org/linktypes.html), without the FCS bits that a pcap file
// may keep in the same word.
type LinkType = uint32

// maxDepth bounds how many Ethernet and IP headers one frame may hold. Every cycle of the decoder passes one of the two, so it also bounds
// its recursion. Real networks reach five (VXLAN over GRE); hostile ones would go on.
const maxDepth = 8

// Options bounds the memory of fragment reassembly. Zero fields take the defaults.
type Options struct {
	// FragmentDatagrams is how many incomplete datagrams are kept at a time (default 256). The oldest makes room.
	FragmentDatagrams int
	// FragmentBytes is how much memory they may take together (default 4 MiB).
	FragmentBytes int
	// FragmentLifetime is how long, by packet time, the rest of a datagram is waited for after its first fragment was seen
	// (default 30 s, as Linux net.ipv4.ipfrag_time).
	FragmentLifetime time.Duration
}

// Decoder decodes frames and counts what became of them. It is not safe for concurrent use.
type Decoder struct {
	// Stats counts since New. The caller may read it between two calls of Decode.
	Stats Stats

	// depth counts the Ethernet and IP headers of the present frame.
	depth int
	frags reassembler
}

// New returns a Decoder.
func New(o Options) *Decoder {
	if o.FragmentDatagrams <= 0 {
		o.FragmentDatagrams = 256
	}
	if o.FragmentBytes <= 0 {
		o.FragmentBytes = 4 << 20
	}
	if o.FragmentLifetime <= 0 {
		o.FragmentLifetime = 30 * time.Second
	}
	return &Decoder{frags: newReassembler(o)}
}

// PendingDatagrams is how many datagrams still wait for fragments. At the end of a capture they are lost too.
func (d *Decoder) PendingDatagrams() int { return len(d.frags.byKey) }

// Decode decodes one frame into seg and says what it was.
//
// data is what was captured of the frame, wireLen its length on the wire (taken as len(data) when less), ts its time in nanoseconds since the Unix
// epoch, which also drives the lifetime of fragments. Only after Segment does seg hold anything meaningful; then Time, the five-tuple, Seq,
// Ack, Flags, Payload and Length are set, and Packet and Cookie are left as they were. Payload aliases data or, where fragments
// were put together, a buffer of the Decoder's: either way it is valid until the next Decode.
func (d *Decoder) Decode(link LinkType, data []byte, wireLen int, ts int64, seg *flow.Segment) Result {
	// The bulk of all traffic: Ethernet, IPv4 without options, not fragmented, TCP, captured whole. Whatever is unusual in any way takes
	// the general path, which gives the same result for these frames too (FuzzDecode compares the two).
	if link == LinkEthernet && len(data) >= ethernetLen+ipv4MinLen+tcpMinLen {
		b := data[ethernetLen:]
		h := (*[ipv4MinLen + tcpMinLen]byte)(b)
		if data[12] == 0x08 && data[13] == 0x00 && h[0] == 0x45 && h[9] == protoTCP && h[6]&0x3f == 0 && h[7] == 0 {
			total := int(binary.BigEndian.Uint16(h[2:4]))
			start := ipv4MinLen + int(h[32]>>4)*4
			if start >= ipv4MinLen+tcpMinLen && start <= total && total <= len(b) {
				putIPv4(&seg.SrcIP, h[12:16])
				putIPv4(&seg.DstIP, h[16:20])
				seg.SrcPort = binary.BigEndian.Uint16(h[20:22])
				seg.DstPort = binary.BigEndian.Uint16(h[22:24])
				seg.Proto = flow.TCP
				seg.Time = ts
				seg.Seq = binary.BigEndian.Uint32(h[24:28])
				seg.Ack = binary.BigEndian.Uint32(h[28:32])
				seg.Flags = flow.TCPFlags(h[33])
				seg.Payload = b[start:total:total]
				seg.Length = total - start
				d.Stats.Frames[Segment]++
				return Segment
			}
		}
	}
	r := d.general(link, data, wireLen, ts, seg)
	d.Stats.Frames[r]++
	return r
}

// general decodes any frame.
func (d *Decoder) general(link LinkType, data []byte, wireLen int, ts int64, seg *flow.Segment) Result {
	seg.Time = ts
	d.depth = 0
	p := rest{b: data, wire: max(wireLen, len(data))}
	switch link {
	case LinkEthernet:
		return d.ethernet(p, seg)
	case LinkRaw, linkRawBSD, linkRawOpenBSD:
		return d.rawIP(p, seg)
	case LinkIPv4:
		return d.ipv4(p, seg)
	case LinkIPv6:
		return d.ipv6(p, seg)
	case LinkSLL:
		return d.sll(p, seg)
	case LinkSLL2:
		return d.sll2(p, seg)
	case LinkNull, LinkLoop:
		return d.loopback(p, seg)
	case LinkPPP:
		return d.ppp(p, seg)
	case LinkPPPHDLC, LinkCiscoHDLC:
		return d.hdlc(p, seg)
	case LinkPPPEther:
		return d.pppoe(p, seg)
	}
	return UnsupportedLink
}

// rest is what of a frame is still to be decoded. It has four words, the most that the compiler keeps in registers: with a fifth the general path
// takes four times as long.
type rest struct {
	// b holds the captured bytes. Its capacity may reach further; nothing looks there.
	b []byte
	// wire is how many bytes there were on the wire from b's first on; never less than len(b).
	wire int
}

// skip drops the first n bytes, which must have been captured.
func (p rest) skip(n int) rest {
	p.b = p.b[n:]
	p.wire -= n
	return p
}

// limit makes n the length on the wire, where a header says that the packet is n bytes long. What follows is padding, or belongs
// to another layer.
func (p rest) limit(n int) rest {
	if n < len(p.b) {
		p.b = p.b[:n]
	}
	p.wire = n
	return p
}

// short is the result for a header of n bytes of which less than n were captured.
func (p rest) short(n int) Result {
	if p.wire >= n {
		return Truncated
	}
	return Malformed
}

// deeper counts an Ethernet or IP header, and reports false when there are too many.
func (d *Decoder) deeper() bool {
	d.depth++
	return d.depth <= maxDepth
}

// putIPv4 stores the IPv4 address b[:4] in its mapped form: two stores, where flow.IPFrom4 builds the array and copies it.
func putIPv4(ip *flow.IP, b []byte) {
	binary.LittleEndian.PutUint64(ip[:8], 0)
	binary.LittleEndian.PutUint64(ip[8:], 0xffff_0000|uint64(binary.LittleEndian.Uint32(b))<<32)
}

// be16 reads a 16-bit field as an int, so that lengths never wrap.
func be16(b []byte) int { return int(binary.BigEndian.Uint16(b)) }
