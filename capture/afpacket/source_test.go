package afpacket

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/filter"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/testenv"
	"github.com/dynwatch/dynwatch/internal/testnet"
)

var _ capture.Source = (*Source)(nil)

// stream puts the payloads of one direction together by their sequence numbers: a sender that moves from one processor to another has its packets
// overtake each other on the way to the tap.
func stream(all []flow.Segment, srcPort uint16) []byte {
	var (
		of    []*flow.Segment
		start uint32
		seen  bool
	)
	for i := range all {
		if g := &all[i]; g.SrcPort == srcPort {
			of = append(of, g)
			if g.Flags.Has(flow.SYN) {
				start, seen = g.Seq+1, true
			}
		}
	}
	if !seen {
		return nil
	}
	slices.SortStableFunc(of, func(a, b *flow.Segment) int { return cmp.Compare(int32(a.Seq-start), int32(b.Seq-start)) })
	var out []byte
	for _, g := range of {
		if skip := len(out) - int(int32(g.Seq-start)); skip >= 0 && skip < len(g.Payload) {
			out = append(out, g.Payload[skip:]...)
		}
	}
	return out
}

func TestLoopbackIsSeenOnce(t *testing.T) {
	for _, names := range [][]string{{"lo"}, {Any}, {"lo", "lo"}} {
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			testnet.Enter(t)
			listen(t, "127.0.0.1:443")
			s := open(t, Options{Interfaces: names})
			before := time.Now().UnixNano()
			talk(t, "127.0.0.1:443", "hello")
			all := collect(t, s, ended)
			count := make(map[string]int)
			for i := range all {
				g := &all[i]
				count[fmt.Sprintf("%v %d %d %d %x %q", g.FiveTuple, g.Seq, g.Ack, g.Flags, g.Length, g.Payload)]++
				if g.Time < before || g.Time > time.Now().UnixNano() || g.Packet == 0 || g.Length != len(g.Payload) {
					t.Errorf("segment %+v", g)
				}
			}
			for g, n := range count {
				if n != 1 {
					t.Errorf("%d times: %s", n, g)
				}
			}
			if !all[0].Flags.Has(flow.SYN) || all[0].DstPort != 443 || !all[0].DstIP.Is4() {
				t.Errorf("first: %+v", all[0])
			}
			if got := stream(all, 443); string(got) != "hello" {
				t.Errorf("the server sent %q", got)
			}
		})
	}
}

func TestLargePacketsAreWhole(t *testing.T) {
	message := strings.Repeat("0123456789abcdef", 40_000)
	for _, name := range []string{"near", Any} {
		t.Run(name, func(t *testing.T) {
			n := testnet.Pair(t)
			n.Do(func() { listen(t, "192.0.2.2:443") })
			s := open(t, Options{Interfaces: []string{name}})
			talk(t, "192.0.2.2:443", message)
			// The last packet to come need not be one that ends a side.
			whole := func(all []flow.Segment) bool {
				n := 0
				for i := range all {
					n += len(all[i].Payload)
				}
				return ended(all) && n >= 2*len(message)
			}
			all := collect(t, s, whole)
			largest := 0
			for i := range all {
				largest = max(largest, all[i].Length)
			}
			if largest <= 1500 {
				t.Errorf("the largest segment has %d bytes: offloading is not covered", largest)
			}
			for _, port := range []uint16{all[0].SrcPort, 443} {
				if got := stream(all, port); string(got) != message {
					t.Errorf("from port %d: %d bytes of %d", port, len(got), len(message))
				}
			}
			if st := s.Stats(); st.Loss["packet.ring_full"] != 0 || st.Loss["packet.cut_by_snap_length"] != 0 || st.Packets < uint64(len(all)) {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestSnapLengthCutsAndSaysSo(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	s := open(t, Options{Interfaces: []string{"lo"}, SnapLen: 100})
	talk(t, "127.0.0.1:443", strings.Repeat("x", 1000))
	all := collect(t, s, ended)
	cut := 0
	for i := range all {
		if all[i].Length > len(all[i].Payload) {
			cut++
		}
	}
	if got := s.Stats().Loss["packet.cut_by_snap_length"]; cut == 0 || got != uint64(cut) {
		t.Errorf("%d segments are cut, %d counted", cut, got)
	}
}

func TestKernelFilterFollowsPrefixesAndPorts(t *testing.T) {
	n := testnet.Pair(t)
	n.Do(func() { listen(t, "192.0.2.2:4711"); listen(t, "192.0.2.2:443") })
	ports := func(all []flow.Segment) map[uint16]bool {
		m := make(map[uint16]bool)
		for i := range all {
			m[min(all[i].SrcPort, all[i].DstPort)] = true
		}
		return m
	}
	both := func() { talk(t, "192.0.2.2:4711", "a"); talk(t, "192.0.2.2:443", "b") }
	last := func(all []flow.Segment) bool { return len(all) > 0 && ports(all)[443] && ended(all) }

	s := open(t, Options{Interfaces: []string{"near"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	both()
	if got := ports(collect(t, s, last)); got[4711] || !got[443] {
		t.Errorf("without the prefix: %v", got)
	}
	if err := s.SetPrefixes([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}); err != nil {
		t.Fatal(err)
	}
	both()
	if got := ports(collect(t, s, last)); !got[4711] || !got[443] {
		t.Errorf("with the prefix: %v", got)
	}
	if err := s.SetPrefixes(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPorts([]uint16{443, 4711}); err != nil {
		t.Fatal(err)
	}
	both()
	if got := ports(collect(t, s, last)); !got[4711] || !got[443] {
		t.Errorf("with the port: %v", got)
	}
	s.Close()
	for _, err := range []error{s.SetPrefixes(nil), s.SetPorts(nil)} {
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// synFrame is an Ethernet frame with a SYN from 198.51.100.2 to 198.51.100.1, behind the given VLAN tags.
func synFrame(dstPort uint16, tags ...uint16) []byte {
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2}
	for _, tag := range tags {
		f = binary.BigEndian.AppendUint16(f, unix.ETH_P_8021Q)
		f = binary.BigEndian.AppendUint16(f, tag)
	}
	f = append(f, 0x08, 0x00)
	f = append(f, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1)
	f = append(f, 0x80, 0)
	f = binary.BigEndian.AppendUint16(f, dstPort)
	return append(f, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0)
}

// send puts frames on the wire at the far end, a millisecond apart.
func send(t *testing.T, n *testnet.Namespace, frames ...[]byte) {
	n.Do(func() {
		far, err := net.InterfaceByName("far")
		if err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		for i, frame := range frames {
			if i > 0 {
				time.Sleep(time.Millisecond)
			}
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: far.Index}); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestUsersFilterAndVLANTags(t *testing.T) {
	n := testnet.Pair(t)
	for _, c := range []struct {
		expr, iface string
		tags        []uint16
		seen        bool
	}{
		{"vlan 7 and tcp port 4711", "near", []uint16{7}, true},
		{"vlan 8 and tcp port 4711", "near", []uint16{7}, false},
		{"vlan 7 and vlan 9 and tcp port 4711", "near", []uint16{7, 9}, true},
		{"tcp port 4711", "near", nil, true},
		{"tcp port 4711", "near", []uint16{7}, true}, // as with tcpdump: the tag is not in the frame
		{"tcp port 4712", "near", []uint16{7}, false},
		{"", "near", []uint16{7}, true},
		{"host 198.51.100.2", Any, nil, true},
		{"host 198.51.100.2", Any, []uint16{7}, true},
		{"host 198.51.100.3", Any, nil, false},
	} {
		name := fmt.Sprintf("%q on %s with tags %v", c.expr, c.iface, c.tags)
		var f *filter.Filter
		if c.expr != "" {
			var err error
			if f, err = filter.Compile(c.expr, filter.Options{Link: filter.LinkEthernet}); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, Options{Interfaces: []string{c.iface}, Filter: f, All: true})
		send(t, n, synFrame(4711, c.tags...))
		send(t, n, synFrame(53)) // the last one
		count := 0
		for idle := 0; idle < 3 || c.seen && count == 0 && idle < 100; {
			var seg flow.Segment
			if err := s.Next(&seg); err != nil {
				idle++
			} else if seg.DstPort == 4711 && seg.SrcIP == flow.IPFrom(netip.MustParseAddr("198.51.100.2")) {
				count++
			}
		}
		if want := map[bool]int{true: 1}[c.seen]; count != want {
			t.Errorf("%s: seen %d times, want %d; %+v", name, count, want, s.Stats())
		}
		s.Close()
		s.Close()
	}
}

// labelledFrame is synFrame(4711) behind what stands in place of its EtherType: that of a label, and the label.
func labelledFrame(label []byte, tags ...uint16) []byte {
	f := synFrame(4711, tags...)
	n := len(synFrame(0, tags...)) - 40 // of the IP header
	return slices.Concat(f[:n-2], label, f[n:])
}

func TestUsersFilterForLabels(t *testing.T) {
	n := testnet.Pair(t)
	mpls := []byte{0x88, 0x47, 0, 0, 0x51, 64}                 // label 5, the last
	pppoe := []byte{0x88, 0x64, 0x11, 0, 0, 9, 0, 42, 0, 0x21} // session 9, IPv4
	for _, c := range []struct {
		expr  string
		frame []byte
		seen  bool
	}{
		{"mpls and tcp port 4711", labelledFrame(mpls), true},
		{"mpls 5 and tcp port 4711", labelledFrame(mpls, 7), true},
		{"mpls 6", labelledFrame(mpls), false},
		{"mpls and tcp port 4712", labelledFrame(mpls), false},
		{"mpls or tcp port 4711", labelledFrame(mpls), true},
		{"pppoes 9 and tcp port 4711", labelledFrame(pppoe), true},
		{"pppoes 8", labelledFrame(pppoe), false},
		{"vlan 7 and mpls 5 and tcp port 4711", labelledFrame(mpls, 7), true},
		{"vlan 8 and mpls 5 and tcp port 4711", labelledFrame(mpls, 7), false},
	} {
		f, err := filter.Compile(c.expr, filter.Options{Link: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, Options{Interfaces: []string{"near"}, Filter: f})
		send(t, n, c.frame)
		var seg flow.Segment
		seen := false
		for idle := 0; idle < 3 && !seen; idle++ {
			seen = s.Next(&seg) == nil && seg.DstPort == 4711
		}
		if st := s.Stats(); seen != c.seen || len(st.Warnings) > 0 {
			t.Errorf("%s: seen %v; %+v", c.expr, seen, st)
		}
		s.Close()
		s.Close()
	}
}

func TestInterfaceThatGoesDownAndAway(t *testing.T) {
	n := testnet.Pair(t)
	n.Do(func() { listen(t, "192.0.2.2:443") })
	s := open(t, Options{Interfaces: []string{"near"}})
	testnet.IP(t, "link set near down")
	collect(t, s, func([]flow.Segment) bool { return len(s.Stats().Warnings) > 0 })
	if w := s.Stats().Warnings; len(w) != 1 || !strings.Contains(w[0], "near") {
		t.Errorf("warnings %q", w)
	}
	testnet.IP(t, "link set near up")
	talk(t, "192.0.2.2:443", "again")
	if all := collect(t, s, ended); string(stream(all, 443)) != "again" {
		t.Errorf("%d segments after it came up", len(all))
	}
	testnet.IP(t, "link del near")
	untilGone(t, s)
}

// untilGone reads until the source says that near is gone.
func untilGone(t *testing.T, s *Source) {
	t.Helper()
	var seg flow.Segment
	for stop := time.Now().Add(20 * time.Second); time.Now().Before(stop); {
		err := s.Next(&seg)
		if err == nil || errors.Is(err, capture.ErrIdle) {
			continue
		}
		var gone *InterfaceError
		if !errors.As(err, &gone) || gone.Name != "near" {
			t.Errorf("%v", err)
		}
		return
	}
	t.Errorf("it still waits; warnings %q", s.Stats().Warnings)
}

func TestInterfaceThatGoesAwayWhileItIsDown(t *testing.T) {
	remove := func() { testnet.IP(t, "link del near") }
	for name, c := range map[string]struct {
		downFirst bool // before it is opened
		then      func()
	}{
		"down, then deleted":       {false, remove},
		"down from the start":      {true, remove},
		"another one has its name": {false, func() { remove(); testnet.IP(t, "link add near index 77 type veth peer name far") }},
		"in another namespace":     {false, func() { testnet.IP(t, fmt.Sprintf("link set near netns %d", testnet.New(t).Thread)) }},
	} {
		t.Run(name, func(t *testing.T) {
			testnet.Enter(t)
			testnet.IP(t, "link add near index 77 type veth peer name far", "link set far up", "link set near up")
			if c.downFirst {
				testnet.IP(t, "link set near down")
			}
			s := open(t, Options{Interfaces: []string{"near"}})
			if !c.downFirst {
				testnet.IP(t, "link set near down")
				collect(t, s, func([]flow.Segment) bool { return len(s.Stats().Warnings) > 0 })
			}
			collect(t, s, func([]flow.Segment) bool { return !s.looked.IsZero() }) // so that it has to look again
			c.then()
			untilGone(t, s)
		})
	}
}

func TestInterfaceWithAnotherNameIsStillThere(t *testing.T) {
	n := testnet.Pair(t)
	n.Do(func() { listen(t, "192.0.2.2:443") })
	s := open(t, Options{Interfaces: []string{"near"}})
	testnet.IP(t, "link set near down", "link set near name next")
	collect(t, s, func([]flow.Segment) bool { return len(s.Stats().Warnings) > 0 })
	time.Sleep(lookEvery)
	testnet.IP(t, "link set next up")
	talk(t, "192.0.2.2:443", "again")
	if all := collect(t, s, ended); string(stream(all, 443)) != "again" {
		t.Errorf("%d segments after it came up", len(all))
	}
}

func TestReaderMayBeAwayForAWhile(t *testing.T) {
	n := testnet.Pair(t)
	s := open(t, Options{Interfaces: []string{"near"}})
	send(t, n, slices.Repeat([][]byte{synFrame(80)}, 200)...)
	if st := s.Stats(); st.Loss["packet.ring_full"] > 0 {
		t.Errorf("%+v", st)
	}
}

func TestFullRingIsCounted(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	s := open(t, Options{Interfaces: []string{"lo"}, BufferBytes: 1, SnapLen: 2000})
	for range 200 {
		talk(t, "127.0.0.1:443", strings.Repeat("x", 1000))
	}
	for idle := 0; idle < 3; {
		var seg flow.Segment
		if err := s.Next(&seg); err != nil {
			idle++
		}
	}
	st := s.Stats()
	if st.Loss["packet.ring_full"] == 0 || st.Loss["packet.queue_freezes"] == 0 {
		t.Errorf("%+v", st)
	}
	done := make(chan []flow.Segment, 1)
	go func() { done <- collect(t, s, ended) }() // while it is said: two blocks, each given out after some milliseconds, hold little
	talk(t, "127.0.0.1:443", "after")
	if all := <-done; string(stream(all, 443)) != "after" {
		t.Error("it does not go on after a loss")
	}
	if again := s.Stats(); again.Loss["packet.ring_full"] < st.Loss["packet.ring_full"] {
		t.Errorf("counters went back: %+v, then %+v", st, again)
	}
}

func TestCloseUnblocksNextAndLeavesNothing(t *testing.T) {
	testnet.Enter(t)
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	sockets := func() int {
		b, err := os.ReadFile("/proc/thread-self/net/packet")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("\n")) - 1
	}
	before := files()
	for range 20 {
		s, err := Open(Options{Interfaces: []string{"lo"}})
		if err != nil {
			t.Fatal(err)
		}
		if sockets() != 1 {
			t.Error("no packet socket is open")
		}
		result := make(chan error)
		go func() {
			var seg flow.Segment
			for {
				if err := s.Next(&seg); !errors.Is(err, capture.ErrIdle) {
					result <- err
					return
				}
			}
		}()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-result; err != io.EOF {
			t.Errorf("Next: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		s.Stats()
	}
	if n := sockets(); n != 0 {
		t.Errorf("%d packet sockets are left", n)
	}
	if after := files(); after > before {
		t.Errorf("%d files are open, %d before", after, before)
	}
}

// TestCloseGivesOutWhatWasReceived: the kernel holds packets back until a block is full or some milliseconds old.
func TestCloseGivesOutWhatWasReceived(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	for range 20 {
		s := open(t, Options{Interfaces: []string{"lo"}})
		talk(t, "127.0.0.1:443", "hello")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		talk(t, "127.0.0.1:443", "too late")
		var all []flow.Segment
		for {
			var seg flow.Segment
			err := s.Next(&seg)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seg.Payload = bytes.Clone(seg.Payload)
			all = append(all, seg)
		}
		if got := stream(all, 443); string(got) != "hello" || !ended(all) {
			t.Fatalf("the server sent %q in %d segments", got, len(all))
		}
		if st := s.Stats(); st.Loss["packet.unread_at_end"] != 0 || st.Packets != uint64(len(all)) {
			t.Errorf("%+v", st)
		}
	}
}

func TestWhatIsNotReadIsCounted(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	s := open(t, Options{Interfaces: []string{"lo"}})
	talk(t, "127.0.0.1:443", "hello")
	s.Close()
	s.Close()
	if n := s.Stats().Loss["packet.unread_at_end"]; n < 6 { // two SYNs, two with data, two FINs at least
		t.Errorf("%d packets", n)
	}
}

func TestCountEndsTheCapture(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	s := open(t, Options{Interfaces: []string{"lo"}, Count: 5})
	talk(t, "127.0.0.1:443", "hello")
	all := collect(t, s, func(all []flow.Segment) bool { return len(all) == 5 })
	var seg flow.Segment
	if err := s.Next(&seg); len(all) != 5 || err != io.EOF {
		t.Errorf("%d segments, then %v", len(all), err)
	}
}

func TestFrameIsThePacket(t *testing.T) {
	message := strings.Repeat("0123456789abcdef", 1000)
	for name, link := range map[string]decode.LinkType{"lo": decode.LinkEthernet, Any: decode.LinkSLL} {
		t.Run(name, func(t *testing.T) {
			testnet.Enter(t)
			listen(t, "127.0.0.1:443")
			s := open(t, Options{Interfaces: []string{name}, Frames: true})
			talk(t, "127.0.0.1:443", message)
			d := decode.New(decode.Options{})
			n := 0
			for fins, idle := 0, 0; fins < 2; n++ {
				var seg, again flow.Segment
				err := s.Next(&seg)
				for ; errors.Is(err, capture.ErrIdle) && idle < 100; idle++ {
					err = s.Next(&seg)
				}
				if err != nil {
					t.Fatal(err)
				}
				if seg.Flags.Has(flow.FIN) {
					fins++
				}
				var f capture.Frame
				if !s.Frame(&seg, &f) {
					t.Fatal("no frame")
				}
				whole := append(bytes.Clone(f.Head), f.Payload...)
				if f.Interface != name || f.Link != link || f.Length != len(whole) {
					t.Errorf("%s, link type %d, %d bytes of %d", f.Interface, f.Link, len(whole), f.Length)
				}
				if d.Decode(f.Link, whole, f.Length, seg.Time, &again) != decode.Segment {
					t.Fatal("the frame cannot be decoded")
				}
				if again.FiveTuple != seg.FiveTuple || again.Seq != seg.Seq || again.Flags != seg.Flags || !bytes.Equal(again.Payload, seg.Payload) {
					t.Errorf("%+v, want %+v", again, seg)
				}
			}
			if n < 7 {
				t.Errorf("%d packets", n)
			}
		})
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	testnet.Enter(t)
	var iface *InterfaceError
	if _, err := Open(Options{Interfaces: []string{"lo", "nosuch0"}}); !errors.As(err, &iface) || iface.Name != "nosuch0" {
		t.Errorf("unknown interface: %v", err)
	}
	for _, expr := range []string{"ether host 02:00:00:00:00:01", "vlan 7", "mpls 5"} {
		f, err := filter.Compile(expr, filter.Options{Link: filter.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		var syntax *filter.SyntaxError
		if _, err := Open(Options{Filter: f}); !errors.As(err, &syntax) || syntax.Expr != expr {
			t.Errorf("%s on any: %v", expr, err)
		}
		if s, err := Open(Options{Interfaces: []string{"lo"}, Filter: f}); err != nil {
			t.Errorf("%s on lo: %v", expr, err)
		} else {
			s.Close()
			s.Close()
		}
	}

	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_RAW
	runtime.LockOSThread()
	if err := unix.Capset(&header, &data[0]); err != nil { // of this thread alone, which ends with the test
		t.Fatal(err)
	}
	var permission *PermissionError
	if _, err := Open(Options{}); !errors.As(err, &permission) || permission.Capability != "CAP_NET_RAW" || !errors.Is(err, os.ErrPermission) {
		t.Errorf("without the right: %v", err)
	}
}

type owners map[uint16]*flow.Opening

func (o owners) Opening(syn flow.FiveTuple) *flow.Opening { return o[syn.DstPort] }

func TestOpenerIsAskedForWithTheSYN(t *testing.T) {
	testnet.Enter(t)
	listen(t, "127.0.0.1:443")
	s := open(t, Options{Interfaces: []string{"lo"}, Owners: owners{443: {Process: flow.Process{PID: 7}}},
		Describe: func(p *flow.Process) { p.Exe = "described" }})
	talk(t, "127.0.0.1:443", "x")
	for _, g := range collect(t, s, ended) {
		first := g.Flags&(flow.SYN|flow.ACK) == flow.SYN
		if first != (g.Opening != nil) {
			t.Errorf("%+v", g)
		}
		if first && (g.Opening.Process.PID != 7 || g.Opening.Process.Exe != "described" || g.Opening.Time != g.Time) {
			t.Errorf("%+v", g.Opening)
		}
	}
}

// tun makes an interface without link headers and returns what its packets go into and come out of.
func tun(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testenv.Lacks(t, "no tun devices: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestInterfaces(t *testing.T) {
	testnet.Enter(t)
	tun(t, "tun9")
	list, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, x := range list {
		switch x.Name {
		case "lo":
			found++
			if !x.Up || !x.Loopback || !x.Ethernet || len(x.Addresses) == 0 || !x.Addresses[0].Addr().IsLoopback() {
				t.Errorf("%+v", x)
			}
		case "tun9":
			found++
			if x.Up || x.Ethernet {
				t.Errorf("%+v", x)
			}
		}
	}
	if found != 2 {
		t.Errorf("%+v", list)
	}
}

func TestInterfaceWithoutLinkHeader(t *testing.T) {
	testnet.Enter(t)
	f := tun(t, "tun9")
	testnet.IP(t, "link set tun9 up")
	for _, name := range []string{"tun9", Any} {
		s := open(t, Options{Interfaces: []string{name}, Ports: []uint16{4711}})
		if _, err := f.Write(synFrame(4711)[14:]); err != nil {
			t.Fatal(err)
		}
		all := collect(t, s, func(all []flow.Segment) bool { return len(all) > 0 })
		if len(all) != 1 || all[0].DstPort != 4711 || all[0].SrcPort != 0x8000 {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestTunnelledPacketsOnRequest(t *testing.T) {
	n := testnet.Pair(t)
	inner := synFrame(4711)[14:]
	outer := synFrame(0)[:14]
	outer = append(outer, 0x45, 0, 0, byte(20+len(inner)), 0, 1, 0, 0, 64, 4, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1)
	outer = append(outer, inner...)
	with := open(t, Options{Interfaces: []string{"near"}, Tunnels: true})
	without := open(t, Options{Interfaces: []string{"near"}})
	send(t, n, outer)
	if all := collect(t, with, func(all []flow.Segment) bool { return len(all) > 0 }); len(all) != 1 || all[0].DstPort != 4711 {
		t.Errorf("with: %+v", all)
	}
	var seg flow.Segment
	if err := without.Next(&seg); !errors.Is(err, capture.ErrIdle) {
		t.Errorf("without: %+v, %v", seg, err)
	}
}
