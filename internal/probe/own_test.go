package probe

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// segmentOf is a segment from one address to another.
func segmentOf(from, to netip.AddrPort, flags flow.TCPFlags) *flow.Segment {
	return &flow.Segment{Time: time.Now().UnixNano(), Flags: flags, FiveTuple: flow.FiveTuple{
		SrcIP: flow.IPFrom(from.Addr()), DstIP: flow.IPFrom(to.Addr()), SrcPort: from.Port(), DstPort: to.Port(), Proto: flow.TCP,
	}}
}

func TestOwnConnectionsAreKnownFromTheFirstPacketToTheLast(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		server := addrPort(l.Addr())
		var o Own
		var d net.Dialer
		closed := o.watch(&d)
		c, err := d.Dial("tcp", server.String())
		if err != nil {
			t.Fatal(err)
		}
		client, now := addrPort(c.LocalAddr()), time.Now()
		has := func(s *flow.Segment) bool { return o.Has(s, now) }
		elsewhere := netip.MustParseAddrPort("192.0.2.9:443")
		with := func(s *flow.Segment, p flow.Process) *flow.Segment {
			s.Opening = &flow.Opening{Process: p}
			return s
		}
		home := homeNamespace()
		for _, tt := range []struct {
			what string
			s    *flow.Segment
			want bool
		}{
			{"its SYN", segmentOf(client, server, flow.SYN), true},
			{"the answer", segmentOf(server, client, flow.SYN|flow.ACK), true},
			{"another client of the server", segmentOf(netip.AddrPortFrom(client.Addr(), client.Port()+1), server, flow.SYN), false},
			{"another server", segmentOf(client, elsewhere, flow.SYN), false},
			{"this process, and somebody sends its packets elsewhere", with(segmentOf(client, elsewhere, flow.SYN), flow.Process{PID: os.Getpid(), NetNS: home}), true},
			{"the same ports of this namespace", with(segmentOf(client, server, flow.SYN), flow.Process{NetNS: home}), true},
			{"the same ports of another namespace", with(segmentOf(client, server, flow.SYN), flow.Process{NetNS: home + 1}), false},
		} {
			if got := has(tt.s); got != tt.want {
				t.Errorf("%s: %s: %t", listen, tt.what, got)
			}
		}
		udp := segmentOf(client, server, 0)
		if udp.Proto = flow.UDP; has(udp) {
			t.Error("a datagram is a connection's")
		}
		c.Close()
		now = time.Now().Add(lingers)
		closed()
		if !has(segmentOf(server, client, flow.RST)) {
			t.Error("the server's last words are somebody else's")
		}
		again := segmentOf(client, server, flow.SYN)
		again.Time = time.Now().Add(time.Second).UnixNano()
		if has(again) || has(segmentOf(server, client, flow.ACK)) {
			t.Error("who has the port next is left out")
		}
		if len(o.connections) != 0 || o.some.Load() {
			t.Errorf("%d connections are remembered", len(o.connections))
		}
	}
}

func TestOwnConnectionsAreForgotten(t *testing.T) {
	var o Own
	server := netip.MustParseAddrPort("127.0.0.1:1") // nobody listens
	var d net.Dialer
	closed := o.watch(&d)
	if c, err := d.Dial("tcp", server.String()); err == nil {
		c.Close()
		t.Fatal("somebody listens on port 1")
	}
	if len(o.connections) != 1 {
		t.Fatalf("%d connections", len(o.connections))
	}
	client := netip.AddrPortFrom(server.Addr(), o.connections[0].port)
	try := segmentOf(client, server, flow.SYN)
	closed()
	if !o.Has(try, time.Now()) {
		t.Error("a try that was refused is somebody else's")
	}
	if o.Has(segmentOf(client, server, 0), time.Now().Add(lingers+time.Second)) || len(o.connections) != 0 {
		t.Errorf("%d connections are remembered", len(o.connections))
	}
}
