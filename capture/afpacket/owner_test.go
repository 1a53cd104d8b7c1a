package afpacket

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/sockdiag"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

// lateOwner knows the owner of what goes to port 443, after a while.
type lateOwner time.Duration

func (o lateOwner) Opening(syn flow.FiveTuple) *flow.Opening {
	if syn.DstPort != 443 {
		return nil
	}
	time.Sleep(time.Duration(o))
	return &flow.Opening{}
}

func TestPacketsAreSetAsideWhileAnOwnerIsLookedFor(t *testing.T) {
	n := testnet.Pair(t)
	// A buffer in which packets have room for 128 ms, however small they are.
	s := open(t, Options{Interfaces: []string{"near"}, BufferBytes: 8 << 20, Owners: lateOwner(400 * time.Millisecond)})
	frames := slices.Repeat([][]byte{synFrame(80)}, 500)
	for i := range frames {
		frames[i] = bytes.Clone(frames[i])
		binary.BigEndian.PutUint32(frames[i][38:], uint32(i)) // the sequence number
	}
	for _, i := range []int{20, 400} {
		binary.BigEndian.PutUint16(frames[i][36:], 443)
	}
	sent := make(chan struct{})
	go func() { defer close(sent); send(t, n, frames...) }()
	all := collect(t, s, func(all []flow.Segment) bool { return len(all) == len(frames) })
	<-sent
	for i := range all {
		if g := &all[i]; g.Seq != uint32(i) || (g.Opening != nil) != (g.DstPort == 443) {
			t.Fatalf("segment %d: %+v", i, g)
		}
	}
	if st := s.Stats(); len(all) != len(frames) || st.Loss["packet.ring_full"] != 0 {
		t.Errorf("%d packets of %d; %+v", len(all), len(frames), st)
	}
}

func TestPacketsSetAsideAreBounded(t *testing.T) {
	r := madeRing(false, 128<<10, bytesOf(make([]byte, 1400), 80)...)
	s := &Source{rings: []*ring{r}, o: Options{BufferBytes: 64 << 10}}
	s.ask(func() *flow.Opening { time.Sleep(5 * asideEvery); return nil })
	if n := s.aside.bytes(); n < 32<<10 || n > 34<<10 {
		t.Errorf("%d bytes are aside", n)
	}
	for n := range 160 {
		if _, f, ok := s.nextFrame(); !ok || len(f.data) != 1400 {
			t.Fatalf("packet %d: %+v, %v", n, f, ok)
		}
	}
	if s.nextFrame(); cap(s.aside.data) != 0 {
		t.Error("the memory is kept")
	}
}

// TestLocalClientHasItsOwner joins the three: a packet, the socket that sent it, and the process.
func TestLocalClientHasItsOwner(t *testing.T) {
	n := testnet.Pair(t)
	n.Do(func() { listen(t, "192.0.2.2:443") })
	finder, err := sockdiag.Open(sockdiag.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer finder.Close()
	resolver := host.New(host.Options{})
	s := open(t, Options{Owners: finder, Describe: func(p *flow.Process) { resolver.Lookup(p) }})
	done := make(chan []flow.Segment)
	go func() { done <- collect(t, s, ended) }() // while the connection is open
	talk(t, "192.0.2.2:443", "x")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range <-done {
		if g.Flags&(flow.SYN|flow.ACK) != flow.SYN {
			continue
		}
		// The connection may have ended before the packet was read: then nobody owns it any more, and it is counted.
		if g.Opening == nil {
			if finder.Stats().NoSocket == 0 {
				t.Error("no owner, and not counted")
			}
			return
		}
		if p := g.Opening.Process; p.PID != os.Getpid() || p.Exe != exe {
			t.Errorf("%+v", p)
		}
		return
	}
	t.Error("no SYN")
}
