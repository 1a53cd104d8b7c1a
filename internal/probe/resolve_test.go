package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// bothAtOnePort listens to UDP and TCP at the same port. One that is free for UDP may be somebody's for TCP.
func bothAtOnePort(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var err error
	for range 50 {
		var udp net.PacketConn
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		var tcp net.Listener
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatal(err)
	return nil, nil
}

// nameServer answers by UDP and TCP on one port of loopback.
func nameServer(t *testing.T, answer func(q dnsmessage.Question, tcp bool) dnsmessage.Message) netip.AddrPort {
	t.Helper()
	udp, tcp := bothAtOnePort(t)
	reply := func(b []byte, isTCP bool) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil || len(m.Questions) != 1 {
			return nil
		}
		out := answer(m.Questions[0], isTCP)
		out.ID, out.Response = out.ID+m.ID, true
		if len(out.Questions) == 0 {
			out.Questions = m.Questions
		}
		packed, err := out.Pack()
		if err != nil {
			t.Error(err)
		}
		return packed
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			// Somebody else's answer comes first.
			other := append([]byte(nil), b[:n]...)
			other[0] ^= 0xff
			other[2] |= 0x80
			udp.WriteTo(other, from)
			udp.WriteTo(reply(b[:n], false), from)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			var length [2]byte
			if _, err := io.ReadFull(c, length[:]); err == nil {
				b := make([]byte, binary.BigEndian.Uint16(length[:]))
				io.ReadFull(c, b)
				r := reply(b, true)
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { udp.Close(); tcp.Close(); <-done; <-done })
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

func rr(owner string, body dnsmessage.ResourceBody, kind dnsmessage.Type) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(owner), Type: kind, Class: dnsmessage.ClassINET, TTL: 5}, Body: body}
}

func TestResolve(t *testing.T) {
	server := nameServer(t, func(q dnsmessage.Question, tcp bool) dnsmessage.Message {
		var m dnsmessage.Message
		a := func(owner, addr string) { // of the family that was asked for
			switch ip := netip.MustParseAddr(addr); {
			case ip.Is4() && q.Type == dnsmessage.TypeA:
				m.Answers = append(m.Answers, rr(owner, &dnsmessage.AResource{A: ip.As4()}, q.Type))
			case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
				m.Answers = append(m.Answers, rr(owner, &dnsmessage.AAAAResource{AAAA: ip.As16()}, q.Type))
			}
		}
		alias := func(owner, to string) {
			m.Answers = append(m.Answers, rr(owner, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)}, dnsmessage.TypeCNAME))
		}
		switch q.Name.String() {
		case "both.example.":
			a("both.example.", "2001:db8::1")
			a("both.example.", "192.0.2.2")
			a("both.example.", "192.0.2.1")
			a("other.example.", "192.0.2.99") // nobody asked for it
		case "alias.example.":
			alias("alias.example.", "one.example.")
			alias("one.example.", "two.example.")
			a("two.example.", "192.0.2.3")
		case "loop.example.":
			alias("loop.example.", "pool.example.")
			alias("pool.example.", "loop.example.")
		case "long.example.":
			if m.Truncated = !tcp; tcp {
				a("long.example.", "192.0.2.4")
			}
		case "broken.example.":
			m.RCode = dnsmessage.RCodeServerFailure
		case "db.cluster.local.":
			a("db.cluster.local.", "192.0.2.5")
		default:
			m.RCode = dnsmessage.RCodeNameError
		}
		return m
	})
	r := resolver{timeout: 20 * time.Second}
	conf := parseResolvConf("search cluster.local\noptions ndots:2\n")
	conf.servers = []netip.AddrPort{server}
	tests := []struct{ name, names, addrs, err string }{
		{"both.example", "", "192.0.2.1 192.0.2.2 2001:db8::1", ""},
		{"alias.example", "one.example two.example", "192.0.2.3", ""},
		{"loop.example", "", "", "no such name"},
		{"long.example", "", "192.0.2.4", ""},
		{"broken.example", "", "", "ServerFailure"},
		{"nothing.example", "", "", "no such name"},
		{"db.cluster.local", "", "192.0.2.5", ""},
		{strings.Repeat("x", 300), "", "", "no such name"},
	}
	for _, test := range tests {
		t.Run(test.name[:min(len(test.name), 20)], func(t *testing.T) {
			res, err := r.ask(t.Context(), &conf, test.name)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var addrs []string
			for _, a := range res.Addrs {
				addrs = append(addrs, a.String())
			}
			if got := strings.Join(addrs, " "); got != test.addrs || strings.Join(res.Names, " ") != test.names || res.Resolver != server {
				t.Errorf("%s, by %v, %v", got, res.Names, res.Resolver)
			}
		})
	}
	conf.tcp = true
	if res, err := r.ask(t.Context(), &conf, "both.example"); err != nil || len(res.Addrs) != 3 {
		t.Errorf("by TCP alone: %v %v", res, err)
	}
}

func TestAResolverThatIsSilent(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := resolver{timeout: 400 * time.Millisecond}
	conf := resolvConf{servers: []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()}}
	ctx, cancel := context.WithTimeout(t.Context(), r.timeout)
	defer cancel()
	begin := time.Now()
	if _, err := r.ask(ctx, &conf, "a.example"); !errors.Is(err, errTimeout) || !strings.Contains(err.Error(), "resolver 127.0.0.1") {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestResolvConf(t *testing.T) {
	tests := []struct {
		text string
		want resolvConf
	}{
		{"", resolvConf{servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}, ndots: 1}},
		{"# x\nnameserver 192.0.2.53 # y\nnameserver fe80::1%eth0\nnameserver nonsense\nsearch a.example b.example.\noptions ndots:5 use-vc rotate\n",
			resolvConf{
				servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53")},
				search:  []string{"a.example", "b.example"}, ndots: 5, tcp: true,
			}},
		{"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\ndomain x\nsearch y\noptions ndots:99 ndots:-1",
			resolvConf{
				servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")},
				search:  []string{"y"}, ndots: 15,
			}},
	}
	for _, test := range tests {
		if got := parseResolvConf(test.text); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q is %+v, want %+v", test.text, got, test.want)
		}
	}
	c := resolvConf{search: []string{"svc", "local"}, ndots: 2}
	for in, want := range map[string]string{"a": "a.svc a.local a", "a.b": "a.b.svc a.b.local a.b", "a.b.c": "a.b.c a.b.c.svc a.b.c.local", "a.b.": "a.b"} {
		if got := strings.Join(c.candidates(in), " "); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	const text = "127.0.0.1 localhost\n# 192.0.2.1 a.example\n192.0.2.2 x A.example b # a comment\n::ffff:192.0.2.3\ta.example.\nnonsense a.example\n"
	if got := inHosts(text, "a.example"); !reflect.DeepEqual(got, []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}) {
		t.Errorf("%v", got)
	}
	if got := inHosts(text, "comment"); got != nil {
		t.Errorf("%v", got)
	}
}

func FuzzReadAnswer(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q},
		Answers: []dnsmessage.Resource{
			rr("a.example.", &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.example.")}, dnsmessage.TypeCNAME),
			rr("b.example.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}, dnsmessage.TypeA),
		},
	}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ours, err := readAnswer(b, 7, q)
		if !ours && list != nil {
			t.Fatal("the answer to another question has records")
		}
		if err != nil && list != nil {
			t.Fatal("both records and an error")
		}
		names, addrs := follow(list, "a.example")
		if len(names) > maxAliases || len(addrs) > 2*maxAddrs {
			t.Fatalf("%d aliases, %d addresses", len(names), len(addrs))
		}
	})
}
