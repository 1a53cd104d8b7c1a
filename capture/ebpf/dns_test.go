package ebpf

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// question is the header of a DNS query that recursion is desired of, and a name and type after it.
func question(id byte, name string) []byte {
	b := []byte{0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(name))}
	return append(append(b, name...), 0, 0, 1, 0, 1)
}

// answerTo is a response with the question and nothing else.
func answerTo(question []byte) []byte {
	b := bytes.Clone(question)
	b[2] |= 0x80
	return b
}

// socket gives a datagram socket without a peer.
func socket(t *testing.T, at string) net.PacketConn {
	t.Helper()
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// resolve has every question that comes to a socket answered.
func resolve(u net.PacketConn) {
	b := make([]byte, 512)
	for {
		n, from, err := u.ReadFrom(b)
		if err != nil {
			return
		}
		u.WriteTo(answerTo(b[:n]), from)
	}
}

// receive takes one datagram.
func receive(t *testing.T, u net.PacketConn) {
	t.Helper()
	if _, _, err := u.ReadFrom(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
}

func TestDNSAnswersOfAnyProcess(t *testing.T) {
	testnet.Enter(t) // a resolver of the host may have port 53 of every address
	pc := socket(t, "127.0.7.53:53")
	go resolve(pc)
	s := open(t, Options{DNS: true})
	r := record(t, s)
	c, err := net.Dial("udp", "127.0.7.53:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(question(1, "one"))
	io.ReadFull(c, make([]byte, 1))
	u := socket(t, "127.0.7.54:0")
	u.WriteTo(question(2, "two"), pc.LocalAddr())
	receive(t, u)
	segs := with(r.stop(), pc.LocalAddr().(*net.UDPAddr).AddrPort())
	if len(segs) != 2 || !bytes.Equal(segs[0].Payload, answerTo(question(1, "one"))) || !bytes.Equal(segs[1].Payload, answerTo(question(2, "two"))) {
		t.Fatalf("segments %+v", segs)
	}
	if segs[0].Opening == nil {
		t.Error("no owner of a connected socket")
	} else {
		checkProcess(t, segs[0].Opening.Process)
	}
	if got := segs[0]; got.Proto != flow.UDP || got.Dst() != c.LocalAddr().(*net.UDPAddr).AddrPort() || got.Length != len(got.Payload) {
		t.Errorf("segment %+v", got)
	}
	checkNoLoss(t, s)
}

// TestAnswersThatNobodyAskedForAreNone: whoever reaches an open port may send from port 53 what looks like one.
func TestAnswersThatNobodyAskedForAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		sent     []byte // by the socket before, if anything
		received []byte
		want     bool
	}{
		"the answer":                {question(1, "one"), answerTo(question(1, "one")), true},
		"longer question":           {append(question(1, "one"), make([]byte, 23)...), answerTo(question(1, "one")), true},
		"to another question":       {question(1, "one"), answerTo(question(2, "one")), false},
		"to an answer":              {answerTo(question(1, "one")), answerTo(question(1, "one")), false},
		"to what is no question":    {[]byte("\x00\x01 a line of a log"), answerTo(question(1, "one")), false},
		"to nothing":                {nil, answerTo(question(1, "one")), false},
		"to nothing, and too short": {nil, []byte{0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			testnet.Enter(t)
			r := record(t, open(t, Options{DNS: true}))
			u, server := socket(t, "127.0.7.57:5514"), socket(t, "127.0.7.58:53")
			if test.sent != nil {
				u.WriteTo(test.sent, server.LocalAddr())
				receive(t, server)
			}
			server.WriteTo(test.received, u.LocalAddr())
			receive(t, u)
			if n := len(with(r.stop(), netip.MustParseAddrPort("127.0.7.58:53"))); n != map[bool]int{true: 1}[test.want] {
				t.Errorf("%d datagrams taken for an answer", n)
			}
		})
	}
}

// TestAnswersToASocketsOwnQuestionsAreItsAlone: another one's question with the same ID does not count.
func TestAnswersToASocketsOwnQuestionsAreItsAlone(t *testing.T) {
	testnet.Enter(t)
	r := record(t, open(t, Options{DNS: true}))
	one, other, server := socket(t, "127.0.7.57:0"), socket(t, "127.0.7.57:0"), socket(t, "127.0.7.58:53")
	one.WriteTo(question(1, "one"), server.LocalAddr())
	receive(t, server)
	server.WriteTo(answerTo(question(1, "one")), other.LocalAddr())
	receive(t, other)
	if segs := with(r.stop(), netip.MustParseAddrPort("127.0.7.58:53")); len(segs) != 0 {
		t.Errorf("segments %+v", segs)
	}
}

// TestAnswersBehindARedirectAreSeen: where the hook sees the question, it goes to another address and port than the answer comes from.
func TestAnswersBehindARedirectAreSeen(t *testing.T) {
	testnet.Enter(t)
	iptables(t, "-t nat -A OUTPUT -p udp -d 127.0.7.59 --dport 53 -j DNAT --to-destination 127.0.7.60:5353")
	go resolve(socket(t, "127.0.7.60:5353"))
	r := record(t, open(t, Options{DNS: true}))
	u := socket(t, "127.0.7.54:0")
	u.WriteTo(question(3, "three"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.7.59:53")))
	receive(t, u)
	segs := with(r.stop(), netip.MustParseAddrPort("127.0.7.59:53"))
	if !slices.ContainsFunc(segs, func(s flow.Segment) bool { return bytes.Equal(s.Payload, answerTo(question(3, "three"))) }) {
		t.Errorf("segments %+v", segs)
	}
}

// TestDNSOverTCPIsSeenForLong: resolvers keep a connection to the next one open, and what comes over it in time is more than a handshake's budget.
func TestDNSOverTCPIsSeenForLong(t *testing.T) {
	testnet.Enter(t)
	s := open(t, Options{DNS: true})
	r := record(t, s)
	ln, addr := listen(t, "127.0.7.55:53")
	c, p := connect(t, ln)
	questions, answers := bytes.Repeat([]byte("question"), 20), bytes.Repeat([]byte("answer"), 1000)
	const n = 200
	for range n {
		transfer(t, c, p, questions)
		transfer(t, p, c, answers)
	}
	segs := with(r.stop(), addr)
	checkOpening(t, segs)
	checkNoLoss(t, s)
	if b, _ := stream(segs, segs[0].Src()); !bytes.Equal(b, bytes.Repeat(questions, n)) {
		t.Errorf("client's stream: %d bytes, or others", len(b))
	}
	if b, _ := stream(segs, addr); !bytes.Equal(b, bytes.Repeat(answers, n)) {
		t.Errorf("server's stream: %d bytes, or others", len(b))
	}
}

// TestAZoneOverTCPHasABudget: one question does not have the kernel copy without end.
func TestAZoneOverTCPHasABudget(t *testing.T) {
	testnet.Enter(t)
	s := open(t, Options{DNS: true})
	r := record(t, s)
	ln, addr := listen(t, "127.0.7.56:53")
	c, p := connect(t, ln)
	transfer(t, c, p, []byte("question"))
	transfer(t, p, c, make([]byte, 300<<10))
	if b, _ := stream(with(r.stop(), addr), addr); len(b) != 64<<10 {
		t.Errorf("%d bytes of the answer", len(b))
	}
	if s.Stats().Loss["ebpf.connections_over_budget"] != 1 {
		t.Errorf("loss %v", s.Stats().Loss)
	}
}
