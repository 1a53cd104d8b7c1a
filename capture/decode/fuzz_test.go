package decode

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
)

var fuzzLinks = []LinkType{LinkEthernet, LinkRaw, LinkSLL, LinkSLL2, LinkNull, LinkLoop, LinkPPP, LinkPPPHDLC, LinkPPPEther, LinkCiscoHDLC,
	LinkIPv4, LinkIPv6, linkRawBSD, linkRawOpenBSD, 127}

// FuzzDecode decodes any frame. The payload lies within the frame; the short path and the general one agree; a cut capture never tells more than
// the whole one; and on plain Ethernet, IP and TCP the result is gopacket's.
func FuzzDecode(f *testing.F) {
	for _, b := range benchFrames {
		f.Add(uint8(0), b[:min(len(b), 120)], uint16(0))
		f.Add(uint8(0), b[:min(len(b), 80)], uint16(len(b)-80))
	}
	f.Add(uint8(1), tcp4, uint16(0))
	f.Add(uint8(1), ip6(protoHopByHop, ext(protoFragment, 8, frag6(protoTCP, 1, 1, tcp("hello hello!")))), uint16(0))
	f.Add(uint8(0), eth(typeMPLS, label(3, true, cat(zeros[:4], eth(typeIPv4, tcp4)))), uint16(9))
	f.Add(uint8(1), ip4(protoGRE, gre(greRouting, typeTEB, zeros[:4], []byte{8, 0, 0, 4}, zeros[:4], zeros[:4], eth(typeIPv4, tcp4))), uint16(0))
	f.Add(uint8(1), ip4(protoGRE, gre(greSequence, typeERSPAN3, zeros[:4], patch(zeros[:20], 11, 1), eth(typeIPv4, tcp4))), uint16(0))
	f.Add(uint8(1), ip4(protoUDP, geneve(typeTEB, zeros[:8], eth(typeIPv6, tcp6))), uint16(0))
	f.Add(uint8(1), ip4(protoUDP, udp(9, 2152, cat([]byte{0x34, 255}, u16(16+len(tcp4)), u32(1), []byte{0, 0, 0, 1, 1, 0, 0, 0}, tcp4))), uint16(0))
	f.Add(uint8(6), cat([]byte{0xff, 3}, u16(pppIPv4), tcp4), uint16(0))
	f.Add(uint8(8), cat([]byte{0x11, 0, 0, 1}, u16(2+len(tcp4)), u16(pppIPv4), tcp4), uint16(0))
	f.Add(uint8(0), eth(8+len(tcp4), cat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(typeIPv4), tcp4)), uint16(0))
	f.Add(uint8(1), ip4(protoUDP, udp(50000, 53, []byte("q"))), uint16(0))
	for _, path := range testenv.SharedFiles(f, "corpus", "*", "*.pcap*") { // absent, there are fewer seeds
		for _, frame := range readCapture(f, path) {
			if l := slices.Index(fuzzLinks, frame.link); l >= 0 {
				f.Add(uint8(l), frame.data, uint16(0))
				break
			}
		}
	}
	f.Fuzz(func(t *testing.T, l uint8, data []byte, cut uint16) {
		link := fuzzLinks[int(l)%len(fuzzLinks)]
		data = slices.Clip(data)
		before := string(data)
		d := New(Options{})
		var seg, general flow.Segment
		r := d.Decode(link, data, len(data)+int(cut), 1, &seg)
		if r == 0 || r >= NumResults || d.Stats.Frames != frames(r) {
			t.Fatalf("result %d, counted %v", r, d.Stats.Frames)
		}
		if g := New(Options{}).general(link, data, len(data)+int(cut), 1, &general); g != r || r == Segment && !equal(seg, general) {
			t.Fatalf("two paths: %v %+v, %v %+v", r, seg, g, general)
		}
		if string(data) != before {
			t.Fatal("the frame was written to")
		}
		if r == Segment {
			checkSegment(t, &seg, data)
		}
		if cut == 0 {
			checkCuts(t, link, data, r, seg)
		}
		if cut == 0 && link == LinkEthernet {
			checkGopacket(t, data, r, &seg)
		}
	})
}

func checkSegment(t *testing.T, seg *flow.Segment, data []byte) {
	t.Helper()
	if seg.Length < len(seg.Payload) || seg.Proto != flow.TCP && seg.Proto != flow.UDP || cap(seg.Payload) != len(seg.Payload) {
		t.Fatalf("segment %+v", seg)
	}
	if len(seg.Payload) > 0 {
		at := uintptr(unsafe.Pointer(unsafe.SliceData(seg.Payload))) - uintptr(unsafe.Pointer(unsafe.SliceData(data)))
		if at > uintptr(len(data)) || int(at)+len(seg.Payload) > len(data) {
			t.Fatal("payload outside the frame")
		}
	}
}

// checkCuts captures less of a frame. It may then be too short for the headers, but what is still read is the same.
func checkCuts(t *testing.T, link LinkType, data []byte, r Result, whole flow.Segment) {
	t.Helper()
	d := New(Options{})
	for n := 0; n < len(data); n += 1 + n/64 { // every byte where headers are
		var seg flow.Segment
		got := d.Decode(link, data[:n], len(data), 1, &seg)
		if got != Segment {
			continue
		}
		checkSegment(t, &seg, data[:n])
		// What an MPLS stack carries is guessed from bytes that may be gone now; another guess ends at other addresses.
		if r == Segment && seg.FiveTuple == whole.FiveTuple && (seg.Seq != whole.Seq || seg.Length != whole.Length || len(seg.Payload) > len(whole.Payload)) {
			t.Fatalf("cut to %d: %+v, whole %+v", n, seg, whole)
		}
	}
}

// checkGopacket compares with gopacket where it sees nothing but Ethernet, IP and TCP.
//
// We are more lenient in that IP and TCP options are not read, and that an IPv6 length of 0 means all of the frame. We are stricter in that the version in the
// IP header must be the EtherType's.
func checkGopacket(t *testing.T, data []byte, r Result, seg *flow.Segment) {
	t.Helper()
	v := gopacketDecode(LinkEthernet, data)
	if len(v.stack) < 3 || v.stack[0] != layers.LayerTypeEthernet || v.stack[1] != layers.LayerTypeIPv4 && v.stack[1] != layers.LayerTypeIPv6 {
		return
	}
	version := byte(4)
	if v.stack[1] == layers.LayerTypeIPv6 {
		version = 6
	}
	switch {
	case v.stack[2] == layers.LayerTypeTCP:
		refused := v.err != nil && v.seg.Payload == nil
		switch {
		case data[ethernetLen]>>4 != version:
			if r != Malformed {
				t.Fatalf("IP version %d: %v", data[ethernetLen]>>4, r)
			}
		case v.found && !refused:
			if r != Segment || !sameSegment(seg, &v.seg) {
				t.Fatalf("%v %+v\ngopacket %+v, %v", r, seg, v.seg, v.err)
			}
		case r == Segment && len(seg.Payload) > 0:
			t.Fatalf("%+v\ngopacket refuses: %v", seg, v.err)
		}
	case v.stack[2] == gopacket.LayerTypeDecodeFailure && r == Segment && data[ethernetLen]>>4 == version:
		lenient := v.stack[1] == layers.LayerTypeIPv4 && data[ethernetLen]&0x0f > 5 || // options
			v.stack[1] == layers.LayerTypeIPv6 && be16(data[18:20]) == 0 ||
			v.stack[1] == layers.LayerTypeIPv6 && data[20] == protoHopByHop
		if seg.Proto == flow.TCP && !lenient {
			t.Fatalf("%+v\ngopacket refuses: %v", seg, v.err)
		}
	}
}
