package ebpf

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// forgeReset sends a reset with a sequence number of no meaning.
func forgeReset(t *testing.T, src, dst netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: src.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h[0:], src.Port())
	binary.BigEndian.PutUint16(h[2:], dst.Port())
	binary.BigEndian.PutUint32(h[4:], 0x01020304)
	h[12], h[13] = 5<<4, byte(flow.RST)
	sum := uint32(unix.IPPROTO_TCP + len(h)) // with the pseudo header: RFC 9293, Section 3.1
	from, to := src.Addr().As4(), dst.Addr().As4()
	for _, b := range [][]byte{from[:], to[:], h} {
		for ; len(b) > 0; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(h[16:], ^uint16(sum))
	if err := unix.Sendto(fd, h, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
		t.Fatal(err)
	}
}

// checkOwned fails where payload has no owner, or no reset was seen before it.
func checkOwned(t *testing.T, segs []flow.Segment) {
	t.Helper()
	reset, payload := false, false
	for _, seg := range segs {
		reset = reset || seg.Flags.Has(flow.RST)
		if len(seg.Payload) == 0 {
			continue
		}
		payload = true
		if !reset {
			t.Errorf("%q from %v came before the reset", seg.Payload, seg.Src())
		}
		if seg.Opening == nil {
			t.Errorf("%q from %v has no owner", seg.Payload, seg.Src())
		}
	}
	if !payload {
		t.Error("no payload was seen")
	}
}

// A reset that lies outside of the window is dropped (RFC 9293, Section 3.10.7.4): the hook sees it before the socket does.
func TestTheOwnerStaysWhereAResetIsIgnored(t *testing.T) {
	testnet.Enter(t)
	ln, port := listener(t, netip.MustParseAddrPort("127.0.7.74:0"))
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.7.74"), uint16(port))
	s := open(t, Options{Prefixes: prefixes("127.0.7.74/32")})
	r := record(t, s)
	client := stream4(t)
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: port, Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	server := accept(t, ln)
	name, err := unix.Getsockname(client)
	if err != nil {
		t.Fatal(err)
	}
	forgeReset(t, addr, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port)))
	converse(t, client, server)
	checkOwned(t, with(r.stop(), addr))
}

// A client's host that lost a connection resets what the server still has of it, and connects from the same port (RFC 9293, Section 3.5.1).
func TestTheOwnerStaysWhereAConnectionOfBeforeIsReset(t *testing.T) {
	testnet.Enter(t)
	s := open(t, Options{Prefixes: prefixes("127.0.7.82/32")})
	r := record(t, s)
	ln, port := listener(t, netip.MustParseAddrPort("127.0.7.82:0"))
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.7.82"), uint16(port))
	dial := func() int {
		fd := stream4(t)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 23456, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: addr.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	lost := dial()
	accept(t, ln)
	if err := unix.SetsockoptInt(lost, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		t.Fatal(err)
	}
	unix.Close(lost) // and tell nobody
	client := dial()
	converse(t, client, accept(t, ln))
	checkOwned(t, with(r.stop(), addr))
}
