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

// lostOf is how many events are counted as lost where those with these numbers came from one side of a connection, with a round's end at each -1.
func lostOf(cs *connections, e *bpf.Event, numbers ...int) (lost uint64) {
	var clock clock
	for _, n := range numbers {
		if n < 0 {
			lost += cs.settle()
			continue
		}
		e.Number = uint32(n)
		c, _ := cs.find(e, &clock)
		lost += cs.number(c, e)
	}
	return lost
}

func TestEventsAreLostOnceTheyCanComeNoMore(t *testing.T) {
	to := flow.IPFrom(netip.MustParseAddr("198.51.100.1"))
	for name, test := range map[string]struct {
		numbers []int
		now     uint64 // lost
		all     uint64 // in the end
	}{
		"none":                              {[]int{0, 1, 2, 3}, 0, 0},
		"swapped":                           {[]int{0, 2, 1, 3}, 0, 0},
		"the first, swapped":                {[]int{1, 0, 2}, 0, 0},
		"swapped, the ring empty between":   {[]int{0, 2, -1, 1, 3, -1, -1}, 0, 0},
		"two swaps, the ring empty in each": {[]int{0, 2, -1, 1, 4, -1, 3, -1, -1}, 0, 0},
		"swapped and lost":                  {[]int{0, 3, 1, 4}, 0, 1},
		"lost, the ring empty once":         {[]int{0, 3, -1}, 0, 2},
		"lost, the ring empty twice":        {[]int{0, 3, -1, -1}, 2, 2},
		"too late":                          {[]int{0, 2, -1, -1, 1, 3}, 1, 1},
		"the last that may come":            {[]int{1, window - 1, 0}, 0, window - 3},
		"one that is too far behind":        {[]int{1, window, 0}, 1, window - 1},
		"more than may come":                {[]int{0, 1001}, 1000 - window + 1, 1000},
		"more than may come, and one does":  {[]int{0, 1001, 1000}, 1000 - window + 1, 999},
		"the first":                         {[]int{2, 3}, 0, 2},
		"again and again, and never empty":  {[]int{1, 3, 5, 7}, 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			cs := newConnections(nil)
			lost := lostOf(&cs, firstOf(1, to), test.numbers...)
			if all := lost + cs.settleAll(); lost != test.now || all != test.all {
				t.Errorf("%d are lost, and %d in the end; want %d and %d", lost, all, test.now, test.all)
			}
			if n := cs.settleAll(); n != 0 {
				t.Errorf("%d are counted twice", n)
			}
		})
	}
}

// More connections than are remembered, which all go on.
func TestWhatAForgottenConnectionHadIsNoLoss(t *testing.T) {
	const many = 3 * maxConnections
	to := flow.IPFrom(netip.MustParseAddr("198.51.100.1"))
	cs := newConnections(nil)
	var lost uint64
	for n := range uint64(many) {
		lost += lostOf(&cs, firstOf(n+1, to), 0, 1, 2, 3, 4)
	}
	for n := range uint64(many) {
		lost += lostOf(&cs, firstOf(n+1, to), 5)
	}
	if lost += cs.settleAll(); lost != 0 {
		t.Errorf("%d events are counted as lost, none was", lost)
	}
	lost += lostOf(&cs, firstOf(many, to), 7) // which is remembered
	lost += lostOf(&cs, firstOf(many+1, to), 2)
	if lost += cs.settleAll(); lost != 1+2 {
		t.Errorf("%d events are counted as lost of a connection that goes on and a new one, want 3", lost)
	}
}

func TestTheRoundsOfGapsAreBounded(t *testing.T) {
	to := flow.IPFrom(netip.MustParseAddr("198.51.100.1"))
	cs := newConnections(nil)
	var lost uint64
	const many = 4 * maxGaps
	for n := range uint64(many) {
		lost += lostOf(&cs, firstOf(n+1, to), 1)
	}
	if len(cs.gaps) > maxGaps || len(cs.oldGaps) > maxGaps {
		t.Errorf("%d and %d connections wait", len(cs.gaps), len(cs.oldGaps))
	}
	if lost += cs.settleAll(); lost != many {
		t.Errorf("%d are lost, want %d", lost, many)
	}
}
