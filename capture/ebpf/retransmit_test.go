package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// TestRetransmissionsComeAgain loses what the client sends behind the veth, where the hooks have seen it already, until the kernel has sent it again.
func TestRetransmissionsComeAgain(t *testing.T) {
	for how, o := range map[string]Options{
		"by prefix": {Prefixes: prefixes("192.0.2.2/32")},
		"by name":   {LookAtOthers: true},
	} {
		t.Run(how, func(t *testing.T) {
			n := testnet.Pair(t)
			var ln, port int
			n.Do(func() { ln, port = listener(t, netip.MustParseAddrPort("192.0.2.2:0")) })
			s := open(t, o)
			r := record(t, s)
			fd := stream4(t)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{192, 0, 2, 2}}); err != nil {
				t.Fatal(err)
			}
			p := accept(t, ln)
			n.Do(func() { iptables(t, "-A INPUT -i far -p tcp -j DROP") })
			if _, err := unix.Write(fd, []byte(request)); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				if err != nil {
					t.Fatal(err)
				}
				if info.Total_retrans >= 2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("sent again %d times", info.Total_retrans)
				}
			}
			n.Do(func() { iptables(t, "-D INPUT -i far -p tcp -j DROP") })
			if got, err := unix.Read(p, make([]byte, 1000)); got != len(request) {
				t.Fatalf("the server got %d bytes, %v", got, err)
			}
			if _, err := unix.Write(p, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Read(fd, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			segs := with(r.stop(), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(port)))
			checkOpening(t, segs)
			checkNoLoss(t, s)
			client, seqs := segs[0].Src(), make(map[uint32]int)
			for _, s := range segs {
				if s.Src() == client && len(s.Payload) > 0 {
					seqs[s.Seq]++
				}
			}
			if again := seqs[segs[0].Seq+1]; again < 3 || len(seqs) != 1 || !segs[0].Flags.Has(flow.SYN) {
				t.Errorf("the client's bytes by sequence number: %v, and none but one at least three times wanted", seqs)
			}
			if b, fromSYN := stream(segs, client); string(b) != request || !fromSYN {
				t.Errorf("client's stream %q", b)
			}
			if b, _ := stream(segs, segs[0].Dst()); string(b) != "answer" {
				t.Errorf("server's stream %q", b)
			}
		})
	}
}
