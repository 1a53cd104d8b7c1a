package rawip

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/synth"
)

func segment(src, dst string, payload []byte) flow.Segment {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flow.Segment{
		FiveTuple: flow.FiveTuple{SrcIP: flow.IPFrom(s.Addr()), DstIP: flow.IPFrom(d.Addr()), SrcPort: s.Port(), DstPort: d.Port(), Proto: flow.TCP},
		Time:      1e18, Seq: 0xfffffff0, Ack: 77, Flags: flow.ACK | flow.PSH, Payload: payload, Length: len(payload),
	}
}

func TestADecoderReadsBackWhatWasBuilt(t *testing.T) {
	odd := bytes.Repeat([]byte{0xfe}, 1001)
	cut := segment("192.0.2.1:40000", "198.51.100.2:443", odd[:10])
	cut.Length = 1001
	large := segment("192.0.2.1:40000", "198.51.100.2:443", odd)
	large.Length = 200_000
	largeV6 := segment("[2001:db8::1]:40000", "[2001:db8::2]:443", odd)
	largeV6.Length = 200_000
	syn := segment("[2001:db8::1]:40000", "[2001:db8::2]:443", nil)
	syn.Flags, syn.Ack = flow.SYN, 0
	mixed := segment("192.0.2.1:40000", "[2001:db8::2]:443", []byte("x"))
	for name, want := range map[string]flow.Segment{
		"IPv4":                          segment("192.0.2.1:40000", "198.51.100.2:443", odd),
		"IPv6":                          segment("[2001:db8::1]:40000", "[2001:db8::2]:443", odd[:1000]),
		"no payload":                    segment("192.0.2.1:40000", "198.51.100.2:443", nil),
		"SYN":                           syn,
		"a cut payload":                 cut,
		"more than IP has lengths for":  large,
		"the same with IPv6":            largeV6,
		"one address of each family":    mixed,
		"a redirected loopback address": segment("127.0.0.1:1", "127.0.0.1:2", []byte("hello")),
	} {
		t.Run(name, func(t *testing.T) {
			head := AppendHead([]byte("before"), &want)[len("before"):]
			frame := append(bytes.Clone(head), want.Payload...)
			var got flow.Segment
			if r := decode.New(decode.Options{}).Decode(decode.LinkRaw, frame, len(head)+want.Length, want.Time, &got); r != decode.Segment {
				t.Fatalf("decoding gives %v", r)
			}
			if got.FiveTuple != want.FiveTuple || got.Seq != want.Seq || got.Flags != want.Flags || got.Ack != want.Ack ||
				got.Length != want.Length || !bytes.Equal(got.Payload, want.Payload) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestChecksumsAreThoseOfAnotherBuilder compares with the frames that the tests' traffic is made of.
func TestChecksumsAreThoseOfAnotherBuilder(t *testing.T) {
	const ethernet = 14
	for _, payload := range [][]byte{nil, {1}, []byte("an odd number of bytes!"), bytes.Repeat([]byte{0xff, 0xfe}, 700)} {
		for _, ends := range [][2]string{{"192.0.2.1:40000", "198.51.100.2:443"}, {"[2001:db8::1]:40000", "[2001:db8::2]:443"}} {
			s := segment(ends[0], ends[1], payload)
			want := synth.Frame(s.Src(), s.Dst(), s.Seq, s.Ack, byte(s.Flags), 0, payload)[ethernet:]
			if got := append(AppendHead(nil, &s), payload...); !bytes.Equal(got, want) {
				t.Errorf("%s > %s, %d bytes:\n%x\n%x", ends[0], ends[1], len(payload), got, want)
			}
		}
	}
}

func TestAnUnknownChecksumIsNone(t *testing.T) {
	s := segment("192.0.2.1:40000", "198.51.100.2:443", []byte("part"))
	s.Length = 100
	if head := AppendHead(nil, &s); head[ipv4Header+16] != 0 || head[ipv4Header+17] != 0 {
		t.Errorf("checksum %x", head[ipv4Header+16:ipv4Header+18])
	}
}
