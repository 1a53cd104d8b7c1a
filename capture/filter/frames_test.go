package filter

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// Frames are built byte by byte: what they test is where the bytes stand. Checksums are left zero, no filter looks at them.

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// ip4 is an IPv4 packet; fragment is the whole field of flags and offset, options are padded by the caller to four bytes.
func ip4(src, dst string, proto byte, fragment int, options, payload []byte) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	return join([]byte{0x40 | byte(5+len(options)/4), 0}, be16(20+len(options)+len(payload)), be16(1), be16(fragment),
		[]byte{64, proto, 0, 0}, s[:], d[:], options, payload)
}

func ip6(src, dst string, next byte, payload []byte) []byte {
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	return join([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{next, 64}, s[:], d[:], payload)
}

func tcp(src, dst int, flags byte, payload string) []byte {
	return join(be16(src), be16(dst), unhex("00000001 00000000"), []byte{0x50, flags}, unhex("ffff 0000 0000"), []byte(payload))
}

func udp(src, dst int, payload string) []byte {
	return join(be16(src), be16(dst), be16(8+len(payload)), be16(0), []byte(payload))
}

func arpBody(op int, src, dst string) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	return join(unhex("0001 0800 06 04"), be16(op), unhex("020000000005"), s[:], unhex("020000000001"), d[:])
}

// packet is a network packet with its EtherType.
type packet struct {
	etherType int
	bytes     []byte
}

const (
	alice, bob   = "10.0.0.5", "52.94.5.7"
	alice6, bob6 = "2001:db8::5", "2600:1f18::7"
)

func packets() []packet {
	var all []packet
	add := func(etherType int, b []byte) { all = append(all, packet{etherType, b}) }
	transports := []struct {
		proto byte
		bytes []byte
	}{
		{6, tcp(40112, 443, 0x02, "")},
		{6, tcp(443, 40112, 0x12, "")},
		{6, tcp(40112, 443, 0x18, "\x16\x03\x01\x00\x05hello")},
		{6, tcp(40113, 80, 0x18, "GET / HTTP/1.1\r\n\r\n")},
		{6, tcp(8111, 9111, 0x04, "")},
		{6, tcp(443, 443, 0x14, "")},
		{6, tcp(22, 53, 0x10, strings.Repeat("y", 1400))},
		{6, tcp(21, 20, 0x10, "")},
		{6, tcp(65535, 8080, 0x10, "")},
		{6, tcp(74, 443, 0x10, strings.Repeat("z", 20))},
		{6, join(be16(50000), be16(443), unhex("00000001 00000000 8002 ffff 0000 0000 020405b4 01030307 0402 0101"))},
		{17, udp(0, 1, "")},
		{132, join(be16(53), be16(5000), unhex("00000001 00000000 00000014"))},
		{89, unhex("0201 002c")},
		{17, udp(5353, 53, "\x00\x01\x01\x00")},
		{17, udp(53, 40000, strings.Repeat("x", 100))},
		{17, udp(53, 53, "\x80\x80\x80\x80")},
		{17, udp(443, 50000, "q")},
		{132, join(be16(5000), be16(443), unhex("00000001 00000000 01000014"))},
		{1, unhex("0800 0000 0001 0001 6162")},
		{1, unhex("0000 0000 0001 0001 6162")},
		{1, unhex("0301 0000 0000 0000")},
		{2, unhex("1600 0000 e0000001")},
		{58, unhex("8000 0000 0001 0001")},
		{58, unhex("8700 0000 0000 0000 20010db8000000000000000000000005")},
		{50, unhex("00000001 00000001 0000")},
		{51, unhex("06040000 00000001 00000001")},
		{103, unhex("2000 0000")},
		{112, unhex("21 01 64 01 00 01 0000 0a000001")},
		{47, unhex("0000 0800 4500")},
		{9, unhex("0101")},
		{255, nil},
		{0, unhex("3b00")},
	}
	for _, t := range transports {
		add(typeIP, ip4(alice, bob, t.proto, 0x4000, nil, t.bytes))
		add(typeIP6, ip6(alice6, bob6, t.proto, t.bytes))
	}
	syn := transports[0].bytes
	add(typeIP, ip4(bob, alice, 6, 0, nil, transports[1].bytes))
	add(typeIP, ip4("10.0.0.9", bob, 6, 0, nil, syn))
	add(typeIP, ip4("10.0.0.5", "10.0.0.5", 6, 0, nil, syn))
	add(typeIP, ip4("0.0.0.10", "0.0.0.0", 17, 0, nil, udp(68, 67, "")))
	add(typeIP, ip4("10.0.0.1", "255.255.255.255", 17, 0, nil, udp(68, 67, "dhcp")))
	add(typeIP, ip4("10.0.0.2", "224.0.0.251", 17, 0, nil, udp(5353, 5353, "mdns")))
	add(typeIP, ip4(alice, bob, 6, 0x2000, nil, syn))                         // first fragment
	add(typeIP, ip4(alice, bob, 6, 0x2005, nil, syn))                         // later ones, whose bytes look like a header
	add(typeIP, ip4(alice, bob, 17, 0x0005, nil, transports[6].bytes))        //
	add(typeIP, ip4(alice, bob, 6, 0, unhex("94040000"), syn))                // router alert
	add(typeIP, ip4(alice, bob, 6, 0, make([]byte, 40), transports[3].bytes)) // longest header
	add(typeIP, ip4(alice, bob, 17, 0, make([]byte, 12), transports[6].bytes))
	short := ip4(alice, bob, 17, 0, nil, transports[6].bytes)
	short[1], short[8] = 0x48, 5 // a type of service, and a time to live that is nearly over
	add(typeIP, short)
	broken := ip4(alice, bob, 6, 0, nil, syn)
	broken[0] = 0x40 // header length zero: ports are read from the IP header, as in libpcap
	add(typeIP, broken)
	add(typeIP6, ip6(bob6, alice6, 6, transports[1].bytes))
	add(typeIP6, ip6(alice6, alice6, 17, transports[8].bytes))
	add(typeIP6, ip6("fe80::1", "ff02::1", 58, unhex("8600 0000 4000 0000")))
	add(typeIP6, ip6("::1", "::1", 6, syn))
	add(typeIP6, ip6("::ffff:10.0.0.5", "1:2:3:4:5:6:7:8", 6, syn))
	add(typeIP6, ip6(alice6, bob6, 44, join(unhex("06 00 0000 00000001"), syn)))                  // fragment header, TCP
	add(typeIP6, ip6(alice6, bob6, 44, join(unhex("11 00 0009 00000001"), transports[6].bytes)))  // UDP, not the first
	add(typeIP6, ip6(alice6, bob6, 44, join(unhex("3a 00 0001 00000001"), transports[15].bytes))) // ICMPv6
	add(typeIP6, ip6(alice6, bob6, 0, join(unhex("06 00 0502 00000100"), syn)))                   // hop-by-hop
	add(typeIP6, ip6(alice6, bob6, 43, join(unhex("06 00 0000 00000000"), syn)))                  // routing
	add(typeARP, arpBody(1, "10.0.0.5", "10.0.0.1"))
	add(typeARP, arpBody(2, "10.0.0.1", "10.0.0.5"))
	add(typeRARP, arpBody(3, "0.0.0.0", "10.0.0.5"))
	add(0x9000, make([]byte, 46))
	add(0x88cc, unhex("0207 04 020000000005"))
	for _, etherType := range []int{0x6001, 0x6002, 0x6003, 0x6004, 0x6007} {
		add(etherType, make([]byte, 46))
	}
	return all
}

// ethernet is a frame with tags between the addresses and the EtherType.
func ethernet(dst, src string, tags []byte, etherType int, payload []byte) []byte {
	return join(unhex(dst), unhex(src), tags, be16(etherType), payload)
}

// pppNumber is the PPP protocol of an EtherType.
func pppNumber(etherType int) int { return int(pppProtocol(uint32(etherType))) }

// frames are the packets in frames of a link type, named as libpcap names it, with tags and labels where it has them.
func frames(t testing.TB, link string) [][]byte {
	const here, there, multi, broad = "020000000005", "020000000001", "01005e0000fb", "ffffffffffff"
	var all [][]byte
	for i, p := range packets() {
		add := func(b ...[]byte) { all = append(all, join(b...)) }
		switch link {
		case "EN10MB":
			dst := there
			switch i % 7 {
			case 3:
				dst = multi
			case 5:
				dst = broad
			}
			add(ethernet(dst, here, nil, p.etherType, p.bytes))
			add(ethernet(here, dst, unhex("8100 0005"), p.etherType, p.bytes))
			if i%3 != 0 && i < 80 {
				continue // a third of the packets in every encapsulation is enough
			}
			add(ethernet(here, here, unhex("88a8 2064 8100 0005"), p.etherType, p.bytes))
			add(ethernet(there, here, unhex("9100 e006"), p.etherType, p.bytes))
			add(ethernet(there, here, unhex("8100 0064 8100 0005"), p.etherType, p.bytes))
			add(ethernet(there, here, nil, typeMPLS, join(unhex("00064 140"), p.bytes)))
			add(ethernet(there, here, nil, typeMPLS, join(unhex("00064 040 000c8 140"), p.bytes)))
			add(ethernet(there, here, unhex("8100 0005"), typeMPLS, join(unhex("00064 140"), p.bytes)))
			add(ethernet(there, here, nil, typePPPoES, join(unhex("11 00 0027"), be16(len(p.bytes)+2), be16(pppNumber(p.etherType)), p.bytes)))
			add(ethernet(there, here, unhex("8100 0005"), typePPPoES,
				join(unhex("11 00 0027"), be16(len(p.bytes)+2), be16(pppNumber(p.etherType)), p.bytes)))
			add(ethernet(there, here, nil, typePPPoES, join(unhex("11 00 0028 0040 0281 00064 140"), p.bytes)))
		case "RAW", "IPV4", "IPV6":
			add(p.bytes)
		case "LINUX_SLL":
			add(unhex("0000 0001 0006 020000000005 0000"), be16(p.etherType), p.bytes)
			add(unhex("0004 0001 0006 020000000005 0000"), be16(typePPPoES), unhex("11 00 0027 0040"), be16(pppNumber(p.etherType)), p.bytes)
		case "LINUX_SLL2":
			add(be16(p.etherType), unhex("0000 00000002 0001 04 06 0200000000050000"), p.bytes)
			add(be16(typePPPoES), unhex("0000 00000002 0001 04 06 0200000000050000 11 00 0027 0040"), be16(pppNumber(p.etherType)), p.bytes)
		case "PPP":
			add(unhex("ff03"), be16(pppNumber(p.etherType)), p.bytes)
			add(unhex("ff03 0281 00064 140"), p.bytes)
		case "NULL", "LOOP":
			// Linux's number for IPv6, in the order of a little-endian host for NULL: the only ones that libpcap tells us of.
			family := map[int]string{typeIP: "00000002", typeIP6: "0000000a"}[p.etherType]
			if family == "" {
				family = "00000007"
			}
			f := unhex(family)
			if link == "NULL" {
				f[0], f[3] = f[3], f[0]
			}
			add(f, p.bytes)
		default:
			t.Fatalf("no frames for %s", link)
		}
	}
	if link == "EN10MB" {
		for _, llc := range []string{"4242 03 0000", "0606 03 4500", "f0f0 03 2c00", "fefe 03 82", "aaaa 03 000000 0800 4500", "ffff 0022"} {
			b := unhex(llc)
			all = append(all, ethernet("0180c2000000", here, nil, len(b), b), ethernet(there, here, unhex("8100 0005"), len(b), b))
		}
		ip := ip4(alice, bob, 6, 0, nil, tcp(40112, 443, 2, ""))
		all = append(all,
			ethernet(there, here, nil, typePPPoED, unhex("11 09 0000 0004 0101 0000")),
			ethernet(there, there, nil, typeIP, ip),
			ethernet(there, here, unhex("8100 0000"), typeIP, ip),
			ethernet(broad, here, unhex("8100 0fff"), typeIP, ip),
			ethernet(there, here, nil, typeMPLS, join(unhex("00000 140"), ip)),
			ethernet(there, here, nil, typeMPLS, join(unhex("fffff 140"), ip)))
	}
	if link == "LINUX_SLL" {
		for _, llc := range []string{"4242 03 0000", "0606 03 4500", "fefe 03 82"} {
			all = append(all, join(unhex("0000 0001 0006 020000000005 0000 0004"), unhex(llc)))
		}
	}
	return all
}

// truncated are all beginnings of some of the frames, the empty one included.
func truncated(frames [][]byte) [][]byte {
	var all [][]byte
	for i, f := range frames {
		if i%5 != 0 {
			continue
		}
		for n := range min(len(f), 120) {
			all = append(all, f[:n])
		}
	}
	return all
}

// corpus calls f with the packets of the corpus beside the repository, at most perFile of each file. It skips where there is none.
func corpus(t *testing.T, perFile int, f func(link uint32, frame []byte, wireLen int)) {
	testenv.Shared(t, "corpus")
	files := testenv.SharedFiles(t, "corpus", "*", "*.pcap")
	if len(files) == 0 {
		t.Fatal("a corpus without captures")
	}
	for _, name := range files {
		r, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := pcapgo.NewReader(r)
		if err != nil {
			r.Close()
			continue // other formats are not this package's matter
		}
		for range perFile {
			b, ci, err := p.ReadPacketData()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Logf("%s: %v", filepath.Base(name), err)
				}
				break
			}
			f(uint32(p.LinkType()), b, ci.Length)
		}
		r.Close()
	}
}
