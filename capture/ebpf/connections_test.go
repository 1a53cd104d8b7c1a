package ebpf

import (
	"net/netip"
	"testing"

	"github.com/dynwatch/dynwatch/bpf"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// firstOf is the first event of a host's n-th connection.
func firstOf(n uint64, to flow.IP) *bpf.Event {
	client := flow.IPFrom(netip.MustParseAddr("192.0.2.1"))
	return &bpf.Event{
		Opener: bpf.Opener{Cookie: n, Connected: n + 1, PID: 7, Dst: to, DstPort: 443, Proto: flow.TCP},
		Tuple:  flow.FiveTuple{SrcIP: client, DstIP: to, SrcPort: uint16(n), DstPort: 443, Proto: flow.TCP},
	}
}

func TestOpeningsAreLaidAsideAndMadeAnew(t *testing.T) {
	to := flow.IPFrom(netip.MustParseAddr("198.51.100.1"))
	described := 0
	cs := newConnections(func(*flow.Process) { described++ })
	var clock clock
	first, isNew := cs.find(firstOf(1, to), &clock)
	if !isNew || first.opening == nil || first.opening.Process.PID != 7 {
		t.Fatalf("%+v", first)
	}
	redirect := firstOf(2, to)
	redirect.Tuple.DstPort = 15001
	redirected, _ := cs.find(redirect, &clock)
	over, _ := cs.find(firstOf(3, to), &clock)
	for _, fromServer := range []bool{false, true} {
		over.end(&bpf.Event{Opener: bpf.Opener{Proto: flow.TCP}, FromServer: fromServer, Flags: flow.FIN})
	}
	if over.opening != nil {
		t.Error("a connection that is over keeps its opening")
	}
	for n := range uint64(maxOpenings) {
		cs.find(firstOf(n+4, to), &clock)
	}
	held := 0
	for _, c := range cs.newer {
		if c.opening != nil {
			held++
		}
	}
	if held > maxOpenings+1 || first.opening != nil {
		t.Errorf("%d openings are held", held)
	}
	if redirected.opening == nil || redirected.opening.RedirectedTo.Port() != 15001 {
		t.Errorf("the redirection is forgotten: %+v", redirected.opening)
	}
	if c, isNew := cs.find(firstOf(3, to), &clock); isNew || c != over || c.opening != nil {
		t.Errorf("a connection that is over: new %t, %+v", isNew, c.opening)
	}
	before := described
	c, isNew := cs.find(firstOf(1, to), &clock)
	if isNew || c != first || c.opening == nil || c.opening.Process.PID != 7 || described != before+1 {
		t.Errorf("new %t, %+v, described %d times", isNew, c.opening, described-before)
	}
}

func TestAResetIsNoEnd(t *testing.T) {
	to := flow.IPFrom(netip.MustParseAddr("198.51.100.1"))
	cs := newConnections(nil)
	var clock clock
	c, _ := cs.find(firstOf(1, to), &clock)
	c.end(&bpf.Event{Opener: bpf.Opener{Proto: flow.TCP}, FromServer: true, Flags: flow.RST})
	if again, _ := cs.find(firstOf(1, to), &clock); again != c || c.opening == nil {
		t.Errorf("the connection goes on without its owner: %+v", again)
	}
}
