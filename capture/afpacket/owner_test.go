package afpacket

import (
	"os"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/host"
	"github.com/dynwatch/dynwatch/internal/sockdiag"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

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
