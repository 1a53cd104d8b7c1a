package filter

import (
	"testing"

	"golang.org/x/net/bpf"
)

var benchmarks = []struct{ name, expr string }{
	{"TCPPort443", "tcp port 443"},
	{"TCPPort443AndHost", "tcp port 443 and host 10.0.0.5"},
	{"PortList", "port 80 or 443 or 8000 or 8111 or 9111"},
	{"TCPFlags", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0"},
	{"HTTPPayload", "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)"},
}

func benchFrames() (https, dns6 []byte) {
	https = ethernet("020000000001", "020000000005", nil, typeIP, ip4(alice, bob, 6, 0x4000, nil, tcp(40112, 443, 0x18, "hello")))
	dns6 = ethernet("020000000001", "020000000005", nil, typeIP6, ip6(alice6, bob6, 17, udp(40000, 53, "question")))
	return https, dns6
}

func BenchmarkMatch(b *testing.B) {
	https, dns6 := benchFrames()
	for _, bm := range benchmarks {
		f, err := Compile(bm.expr, Options{Link: LinkEthernet})
		if err != nil {
			b.Fatal(err)
		}
		for name, frame := range map[string][]byte{"IPv4HTTPS": https, "IPv6DNS": dns6} {
			b.Run(bm.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f.Match(frame, len(frame))
				}
			})
		}
	}
}

// BenchmarkNetBPF is golang.org/x/net/bpf's machine on the same program, for comparison.
func BenchmarkNetBPF(b *testing.B) {
	https, _ := benchFrames()
	f, err := Compile("tcp port 443", Options{Link: LinkEthernet})
	if err != nil {
		b.Fatal(err)
	}
	vm := netVM(b, f)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vm.Run(https); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, bm := range benchmarks {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(bm.expr, Options{Link: LinkEthernet}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// netVM loads a filter's program into golang.org/x/net/bpf's machine, which checks it much as the kernel does.
func netVM(t testing.TB, f *Filter) *bpf.VM {
	t.Helper()
	instructions, ok := bpf.Disassemble(f.Program())
	if !ok {
		t.Fatalf("%q: x/net/bpf does not know an instruction of\n%s", f, f.Dump())
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatalf("%q: %v in\n%s", f, err, f.Dump())
	}
	return vm
}
