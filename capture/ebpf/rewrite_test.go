package ebpf

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/dynwatch/dynwatch/bpf"
)

// rewrite has connections to a loopback address go to another port, with a program on the source's own hook and after it, as service meshes and
// Cilium do.
func rewrite(t *testing.T, at netip.Addr, to uint16) {
	t.Helper()
	ip := at.As4()
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "rewrite", Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 4, asm.Word), // user_ip4 of struct bpf_sock_addr
			asm.LoadImm(asm.R3, int64(binary.NativeEndian.Uint32(ip[:])), asm.DWord),
			asm.JNE.Reg(asm.R2, asm.R3, "allow"),
			asm.Mov.Imm(asm.R2, int32(binary.NativeEndian.Uint16(port[:]))),
			asm.StoreMem(asm.R1, 24, asm.R2, asm.Word), // user_port
			asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	root, err := bpf.FindCgroup()
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupInet4Connect, Program: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// The kernel tells followed packets by the port of their socket first, which is then not the one that connect was called with.
func TestPortThatAnotherProgramChangesIsFollowed(t *testing.T) {
	actual := serve(t, "127.0.7.31:0", 1000, tls.VersionTLS12)
	asked := netip.AddrPortFrom(actual.Addr(), 443)
	s := open(t, Options{Prefixes: prefixes("127.0.7.31/32")})
	rewrite(t, actual.Addr(), actual.Port())
	r := record(t, s)
	ask(t, asked, "dynamodb.us-east-1.amazonaws.com", 1000)
	segs := with(r.stop(), asked)
	checkNoLoss(t, s)
	checkOpening(t, segs)
	for who, src := range map[string]netip.AddrPort{"client": segs[0].Src(), "server": asked} {
		if b, fromSYN := stream(segs, src); !fromSYN || len(b) < 100 {
			t.Errorf("%s's stream: from its SYN %t, %d bytes", who, fromSYN, len(b))
		}
	}
	if to := segs[len(segs)-1].Opening.RedirectedTo; to != actual {
		t.Errorf("redirected to %v, want %v", to, actual)
	}
}

// Once a port is followed, its sockets are asked one by one.
func TestOtherConnectionsToAFollowedPortAreNone(t *testing.T) {
	ln, addr := listen(t, "127.0.7.32:0")
	s := open(t, Options{Prefixes: prefixes("127.0.7.32/32")})
	other, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.7.33"), addr.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := record(t, s)
	for _, at := range []net.Listener{ln, other} {
		c, p := connect(t, at)
		transfer(t, c, p, []byte("some bytes"))
		transfer(t, p, c, []byte("others"))
		c.Close()
	}
	segs := r.stop()
	if n := len(with(segs, addr)); n == 0 {
		t.Error("the connection to the prefix was not seen")
	}
	if n := len(with(segs, other.Addr().(*net.TCPAddr).AddrPort())); n != 0 {
		t.Errorf("%d segments of a connection to another address", n)
	}
}
