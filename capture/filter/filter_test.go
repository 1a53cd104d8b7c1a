package filter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func compile(t *testing.T, expr string, link uint32) *Filter {
	t.Helper()
	f, err := Compile(expr, Options{Link: link})
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return f
}

// compileAlike compares the programs of two expressions.
func compileAlike(t *testing.T, a, b string) {
	t.Helper()
	f, g := compile(t, a, LinkEthernet), compile(t, b, LinkEthernet)
	if f.DumpDecimal() != g.DumpDecimal() {
		t.Errorf("%q:\n%s%q:\n%s", a, f.Dump(), b, g.Dump())
	}
}

func TestDumpIsAsTcpdumpPrintsIt(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{"", "(000) ret      #262144\n"},
		{"tcp port 443", `(000) ldh      [12]
(001) jeq      #0x86dd          jt 2	jf 8
(002) ldb      [20]
(003) jeq      #0x6             jt 4	jf 19
(004) ldh      [54]
(005) jeq      #0x1bb           jt 18	jf 6
(006) ldh      [56]
(007) jeq      #0x1bb           jt 18	jf 19
(008) jeq      #0x800           jt 9	jf 19
(009) ldb      [23]
(010) jeq      #0x6             jt 11	jf 19
(011) ldh      [20]
(012) jset     #0x1fff          jt 19	jf 13
(013) ldxb     4*([14]&0xf)
(014) ldh      [x + 14]
(015) jeq      #0x1bb           jt 18	jf 16
(016) ldh      [x + 16]
(017) jeq      #0x1bb           jt 18	jf 19
(018) ret      #262144
(019) ret      #0
`},
		{"tcp[0:2] - 5 > len", `(000) ldh      [12]
(001) jeq      #0x800           jt 2	jf 15
(002) ldb      [23]
(003) jeq      #0x6             jt 4	jf 15
(004) ldh      [20]
(005) jset     #0x1fff          jt 15	jf 6
(006) ldxb     4*([14]&0xf)
(007) ldh      [x + 14]
(008) sub      #5
(009) st       M[0]
(010) ld       #pktlen
(011) tax
(012) ld       M[0]
(013) jgt      x                jt 14	jf 15
(014) ret      #262144
(015) ret      #0
`},
	} {
		if got := compile(t, c.expr, LinkEthernet).Dump(); got != c.want {
			t.Errorf("%q:\n%swant\n%s", c.expr, got, c.want)
		}
	}
	if got, want := compile(t, "ip", LinkEthernet).DumpDecimal(), "4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n"; got != want {
		t.Errorf("decimal: %q, want %q", got, want)
	}
}

func TestSnapLenIsWhatTheProgramReturns(t *testing.T) {
	f, err := Compile("ip", Options{Link: LinkEthernet, SnapLen: 300})
	if err != nil {
		t.Fatal(err)
	}
	if p := f.Program(); p[2].K != 300 || p[3].K != 0 {
		t.Errorf("%v", p)
	}
	p := f.Program()
	p[0].K = 99
	if f.Program()[0].K == 99 {
		t.Error("Program is not a copy")
	}
}

func TestOneExpressionServesSeveralLinkTypes(t *testing.T) {
	f := compile(t, "tcp port 443 and host 10.0.0.5", LinkEthernet)
	ip := ip4(alice, bob, 6, 0, nil, tcp(40112, 443, 2, ""))
	for link, header := range map[uint32]string{
		LinkEthernet: "020000000001 020000000005 0800", LinkRaw: "", LinkDLTRaw: "", LinkDLTRawBSD: "", LinkIPv4: "",
		LinkNull: "02000000", LinkLoop: "00000002", LinkPPP: "ff03 0021",
		LinkLinuxSLL:  "0000 0001 0006 0200000000050000 0800",
		LinkLinuxSLL2: "0800 0000 00000002 0001 04 06 0200000000050000",
	} {
		g, err := f.For(link)
		if err != nil {
			t.Fatalf("link type %d: %v", link, err)
		}
		frame := append(unhex(header), ip...)
		if g.Link() != link || !g.Match(frame, len(frame)) {
			t.Errorf("link type %d: no match\n%s", link, g.Dump())
		}
		if again, _ := f.For(link); again != g {
			t.Errorf("link type %d is compiled twice", link)
		}
		if link != LinkEthernet && f.Match(frame, len(frame)) {
			t.Errorf("the Ethernet filter matches a frame of link type %d", link)
		}
	}
	six, err := f.For(LinkIPv6)
	if err != nil || six.Match(ip, len(ip)) {
		t.Errorf("an IPv4 address in raw IPv6: %v", err)
	}
}

func TestForIsSafeForConcurrentUse(t *testing.T) {
	f := compile(t, "tcp port 443", LinkEthernet)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := f.For(fuzzLinks[i%9]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestUnknownLinkTypesAreNamed(t *testing.T) {
	_, err := Compile("tcp", Options{Link: 127})
	if !errors.Is(err, ErrLinkType) || !strings.Contains(err.Error(), "127") {
		t.Errorf("%v", err)
	}
	if _, err := compile(t, "tcp", LinkRaw).For(147); !errors.Is(err, ErrLinkType) {
		t.Errorf("%v", err)
	}
}

func TestAnExpressionMayFailForOneLinkTypeOnly(t *testing.T) {
	f := compile(t, "vlan and tcp", LinkEthernet)
	for range 2 {
		_, err := f.For(LinkRaw)
		if se, ok := errors.AsType[*SyntaxError](err); !ok || se.Offset != 0 || !strings.Contains(se.Msg, "raw IP") {
			t.Errorf("%v", err)
		}
	}
}

func TestLengthIsTheLengthOnTheWire(t *testing.T) {
	f := compile(t, "len = 1500", LinkRaw)
	frame := make([]byte, 64)
	for wire, want := range map[int]bool{1500: true, 64: false, 0: false, -1: false} {
		if got := f.Match(frame, wire); got != want {
			t.Errorf("wire length %d: %v", wire, got)
		}
	}
	if f := compile(t, "len = 64", LinkRaw); !f.Match(frame, 0) || !f.Match(frame, -5) || !f.Match(frame, 10) {
		t.Error("a wire length below the captured one does not count as that")
	}
}

func TestBSDLoopbackKnowsEverySystemsFamilies(t *testing.T) {
	six := ip6(alice6, bob6, 6, tcp(1, 443, 2, ""))
	four := ip4(alice, bob, 6, 0, nil, tcp(1, 443, 2, ""))
	null, loop := compile(t, "tcp port 443", LinkNull), compile(t, "tcp port 443", LinkLoop)
	for _, c := range []struct {
		family     string
		packet     []byte
		null, loop bool
	}{
		{"02000000", four, true, false}, {"00000002", four, true, true},
		{"1e000000", six, true, false}, {"0000001e", six, true, true},
		{"1c000000", six, true, false}, {"18000000", six, true, false}, {"00000018", six, true, true}, {"0a000000", six, true, false},
		{"00000001", four, false, false}, {"02000000", six, false, false}, {"1e000000", four, false, false},
	} {
		frame := append(unhex(c.family), c.packet...)
		if null.Match(frame, len(frame)) != c.null || loop.Match(frame, len(frame)) != c.loop {
			t.Errorf("family %s, version %d: NULL %v LOOP %v", c.family, c.packet[0]>>4, !c.null, !c.loop)
		}
	}
}

// TestMoreThanTcpdumpAccepts pins the forms that libpcap refuses and that have one meaning only.
func TestMoreThanTcpdumpAccepts(t *testing.T) {
	for _, c := range []struct{ expr, same string }{
		{"net 10/8", "net 10.0.0.0/8"},
		{"net 0/0", "net 0.0.0.0/0"},
		{"ip proto tcp", `ip proto \tcp`},
		{"proto udp or tcp", `proto \udp or tcp`},
		{"ether proto ip6", `ether proto \ip6`},
		{"ip6 proto icmp6", "ip6 proto 58"},
		{"host ((10.0.0.5 or 10.0.0.9) and 52.94.5.7)", "(host 10.0.0.5 or 10.0.0.9) and host 52.94.5.7"},
		{"port 80 or (443 or host 10.0.0.5)", "port 80 or port 443 or host 10.0.0.5"},
		{"portrange ftp-data-ftp", "tcp portrange 20-21"},
		{"ip[0] ^ 1 ^ 2 = 5", "(ip[0] ^ 1) ^ 2 = 5"},
	} {
		compileAlike(t, c.expr, c.same)
	}
}

func TestInheritanceOfQualifiers(t *testing.T) {
	for _, c := range []struct{ expr, same string }{
		{"tcp dst port ftp or ftp-data or domain", "tcp dst port 21 or tcp dst port 20 or tcp dst port 53"},
		{"not host 10.0.0.1 and 10.0.0.2", "not host 10.0.0.1 and host 10.0.0.2"},
		{"port 80 and (host 10.0.0.5) or 443", "port 80 and host 10.0.0.5 or port 443"},
		{"src 10.0.0.1 or dst 10.0.0.2 or 10.0.0.3", "src host 10.0.0.1 or dst host 10.0.0.2 or dst host 10.0.0.3"},
		{"port 80 or 443 and host 10.0.0.1 or 10.0.0.2", "((port 80 or port 443) and host 10.0.0.1) or host 10.0.0.2"},
		{"ip proto 1 or 2", "ip proto 1 or ip proto 2"},
	} {
		compileAlike(t, c.expr, c.same)
	}
}

func TestTunnelledPacketsAreNotMatched(t *testing.T) {
	inner := ip4(alice, bob, 6, 0, nil, tcp(40112, 443, 2, ""))
	outer := ip4("192.0.2.1", "192.0.2.2", 4, 0, nil, inner)
	if compile(t, "host 10.0.0.5 or tcp", LinkRaw).Match(outer, len(outer)) {
		t.Error("IP in IP: the filter looked inside")
	}
	if !compile(t, "ip proto 4", LinkRaw).Match(outer, len(outer)) {
		t.Error("IP in IP: the outer header does not count")
	}
}

// manyHosts needs jumps over more than 255 instructions.
func manyHosts(n int) string {
	var b strings.Builder
	b.WriteString("tcp port 443 and (")
	for i := range n {
		if i > 0 {
			b.WriteString(" or ")
		}
		fmt.Fprintf(&b, "ip dst host 192.0.%d.%d", i/256, i%256)
	}
	return b.String() + ")"
}

func TestLongJumps(t *testing.T) {
	for _, n := range []int{100, 240, 250, 251, 252, 253, 254, 255, 256, 257, 258, 300, 1000, 2000} {
		f := compile(t, manyHosts(n), LinkRaw)
		j := newJudges(t, f)
		for i := 0; i < n; i += 1 + n/7 {
			frame := ip4(alice, fmt.Sprintf("192.0.%d.%d", i/256, i%256), 6, 0, nil, tcp(1, 443, 2, ""))
			if !f.Match(frame, len(frame)) {
				t.Errorf("%d hosts: number %d does not match", n, i)
			}
			j.agree(t, frame)
		}
		for _, frame := range [][]byte{
			ip4(alice, bob, 6, 0, nil, tcp(1, 443, 2, "")),
			ip4(alice, "192.0.0.0", 17, 0, nil, udp(1, 443, "")),
			ip6(alice6, bob6, 6, tcp(1, 443, 2, "")),
		} {
			if f.Match(frame, len(frame)) {
				t.Errorf("%d hosts: % x matches", n, frame)
			}
			j.agree(t, frame)
		}
	}
}

// TestEveryHeaderThatIsReadMustBeThere pins a difference to libpcap 1.10, which checks for the header that the left operand of + - * …
// reads and forgets the right one's: "1 + ip[0] = 0x46" is true there for whatever frame has 0x45 at that place.
func TestEveryHeaderThatIsReadMustBeThere(t *testing.T) {
	arp := ethernet("020000000001", "020000000005", nil, typeARP, append([]byte{0x45}, arpBody(1, alice, bob)[1:]...))
	ip := ethernet("020000000001", "020000000005", nil, typeIP, ip4(alice, bob, 6, 0, nil, tcp(1, 2, 2, "")))
	for _, expr := range []string{
		"1 + ip[0] = 0x46", "ip[0] + 1 = 0x46", "0x46 - ip[0] = 1", "ether[0] + ip[0] = 0x47", "len - (len - ip[0]) = 0x45",
	} {
		f := compile(t, expr, LinkEthernet)
		if f.Match(arp, len(arp)) || !f.Match(ip, len(ip)) {
			t.Errorf("%q: ARP %v, IPv4 %v", expr, f.Match(arp, len(arp)), f.Match(ip, len(ip)))
		}
	}
}
