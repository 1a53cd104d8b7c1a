package afpacket

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/capture/filter"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"10.0.0.0/25", "10.0.0.128/25"}, []string{"10.0.0.0/24"}},
		{[]string{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/23"}, []string{"10.0.0.0/22"}},
		{[]string{"10.0.1.0/24", "10.0.2.0/24"}, []string{"10.0.1.0/24", "10.0.2.0/24"}},
		{[]string{"10.0.0.0/8", "10.1.2.3/32"}, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.9/24"}, []string{"10.0.0.0/24"}},
		{[]string{"::ffff:10.0.0.0/120", "2001:db8::/33", "2001:db8:8000::/33"}, []string{"10.0.0.0/24", "2001:db8::/32"}},
		{[]string{"0.0.0.0/1", "128.0.0.0/1", "::/1"}, []string{"0.0.0.0/0", "::/1"}},
	} {
		if got := merge(prefixes(c.in...)); !reflect.DeepEqual(got, prefixes(c.want...)) {
			t.Errorf("merge(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// FuzzMerge holds that an address is in the result exactly when it was in one of the prefixes.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 25, 10, 0, 0, 128, 25})
	f.Fuzz(func(t *testing.T, b []byte) {
		var in []netip.Prefix
		for ; len(b) >= 5 && len(in) < 64; b = b[5:] {
			in = append(in, netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(b[4]%33)))
		}
		out := merge(in)
		holds := func(list []netip.Prefix, a netip.Addr) bool {
			for _, p := range list {
				if p.Masked().Contains(a) {
					return true
				}
			}
			return false
		}
		for _, p := range append(in, out...) {
			for _, a := range []netip.Addr{p.Addr(), p.Masked().Addr(), p.Masked().Addr().Prev(), p.Addr().Next()} {
				if a.IsValid() && holds(in, a) != holds(out, a) {
					t.Errorf("%v: %v in %v, %v in %v", a, holds(in, a), in, holds(out, a), out)
				}
			}
		}
	})
}

func published() (out []netip.Prefix) {
	for _, p := range endpoint.Embedded().List("DYNAMODB") {
		out = append(out, p.Prefix)
	}
	return out
}

// first compiles the first of the forms, the one for a kernel that has room.
func first(t *testing.T, c chosen, link uint32) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(c.forms(link)[0], filter.Options{Link: link})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPublishedPrefixesFitTheKernel(t *testing.T) {
	c := choose(&Options{Ports: DefaultPorts, Prefixes: published()})
	for _, link := range []uint32{filter.LinkEthernet, filter.LinkRaw} {
		t.Logf("link type %d: %d instructions", link, len(first(t, c, link).Program()))
	}
}

func TestEachFormLetsMoreThrough(t *testing.T) {
	c := choose(&Options{Ports: DefaultPorts, Prefixes: prefixes("198.51.100.0/28")})
	frames := [][]byte{synFrame(443), synFrame(443, 7), synFrame(4711), synFrame(4711, 7)}
	for i := range frames {
		if i >= 2 {
			frames[i][len(frames[i])-25], frames[i][len(frames[i])-21] = 0x77, 0x77 // the last bytes of the addresses
		}
	}
	for i, want := range [][]bool{{true, true, false, false}, {true, true, false, true}, {true, true, true, true}} {
		f, err := filter.Compile(c.forms(filter.LinkEthernet)[i], filter.Options{Link: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		for n, frame := range frames {
			if got := f.Match(frame, len(frame)); got != want[n] {
				t.Errorf("form %d, frame %d: %v", i, n, got)
			}
		}
	}
}

// udpFrame is an Ethernet frame with an empty datagram from 198.51.100.2 to 198.51.100.1.
func udpFrame(src, dst byte) []byte {
	b := append(synFrame(0)[:14], 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1)
	return append(b, 0, src, 0, dst, 0, 8, 0, 0)
}

func TestSelection(t *testing.T) {
	here := prefixes("198.51.100.0/24")
	for _, c := range []struct {
		name  string
		o     Options
		frame []byte
		want  bool
	}{
		{"a port", Options{Ports: DefaultPorts}, synFrame(443), true},
		{"another port", Options{Ports: DefaultPorts}, synFrame(4711), false},
		{"another port to a prefix", Options{Ports: DefaultPorts, Prefixes: here}, synFrame(4711), true},
		{"a port behind a tag in the frame", Options{Ports: DefaultPorts}, synFrame(443, 7), true},
		{"a prefix behind a tag in the frame", Options{Prefixes: here}, synFrame(4711, 7), true},
		{"neither ports nor prefixes", Options{}, synFrame(443), false},
		{"all", Options{All: true}, synFrame(4711), true},
		{"a DNS answer", Options{}, udpFrame(53, 99), true},
		{"a DNS question", Options{}, udpFrame(99, 53), false},
		{"other UDP from a prefix", Options{Prefixes: here}, udpFrame(99, 98), false},
		{"no TCP with all", Options{All: true}, udpFrame(99, 98), false},
	} {
		if got := first(t, choose(&c.o), filter.LinkEthernet).Match(c.frame, len(c.frame)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestGeometryHoldsAPacketInABlock(t *testing.T) {
	for _, buffer := range []int{1, 1 << 20, 16 << 20, 256 << 20} {
		for _, snap := range []int{96, 2000, 65535, 262144} {
			g := geometryFor(buffer, snap)
			if g.blockSize < snap+256 || g.blockSize&(g.blockSize-1) != 0 || g.blocks < 2 || g.blocks > 2 && g.blocks*g.blockSize > buffer {
				t.Errorf("geometryFor(%d, %d) = %+v", buffer, snap, g)
			}
		}
	}
}

func TestDefaultGeometryLetsTheReaderBeAwayForAQuarterOfASecond(t *testing.T) {
	g := geometryFor(16<<20, largestPacket)
	if away := time.Duration(g.blocks) * retireAfter; away < 250*time.Millisecond || g.blocks*g.blockSize > 16<<20 {
		t.Errorf("%+v: %v", g, away)
	}
}

func ExampleInterfaces() {
	list, err := Interfaces()
	if err != nil {
		fmt.Println(err)
	}
	for _, x := range list {
		fmt.Println(x.Index, x.Name)
	}
}
