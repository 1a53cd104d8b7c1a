package main

import (
	"bytes"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/capture/rawip"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// framer gives every segment the packet that the eBPF source would, none to those that are marked as fragments.
type framer struct{}

// fragment is the number of a packet that came as IP fragments, fragmented its payload.
const (
	fragment   = 1
	fragmented = "came in pieces"
)

func (framer) Frame(seg *flow.Segment, f *capture.Frame) bool {
	head := rawip.AppendHead(nil, seg)
	*f = capture.Frame{Link: decode.LinkRaw, Interface: "test", Head: head, Payload: seg.Payload, Length: len(head) + seg.Length}
	return seg.Packet != fragment
}

// copied is a copy under test.
type copied struct {
	*liveCopy
	file bytes.Buffer
	over map[copyKey]bool // flows that the analysis is done with
	now  int64            // by the clock that dates packets; the copy's own goes with it unless it is set
	set  int64            // by how much that clock is ahead of the copy's
}

func newCopied(whole bool) *copied {
	c := &copied{over: make(map[copyKey]bool), now: 1e18}
	c.liveCopy = newLiveCopy(unclosed{&c.file}, whole, "ebpf", framer{})
	c.follows = func(t *flow.FiveTuple, cookie uint64) bool {
		k, _ := copyKeyOf(*t, cookie)
		return !c.over[k]
	}
	return c
}

// line is one end of a conversation under test: from a client's port to a server.
type line struct {
	c      *copied
	port   uint16
	cookie uint64
	start  int64
	seq    [2]uint32
}

var copyServer = netip.MustParseAddrPort("52.94.5.7:443")

func (c *copied) dial(port uint16, cookie uint64) *line {
	l := &line{c: c, port: port, cookie: cookie, start: c.now + 1000, seq: [2]uint32{1000, 5000}}
	l.send(0, flow.SYN, "")
	l.send(1, flow.SYN|flow.ACK, "")
	return l
}

func (l *line) tuple(from int) flow.FiveTuple {
	t := flow.FiveTuple{
		SrcIP: flow.IPFrom(netip.MustParseAddr("192.0.2.1")), DstIP: flow.IPFrom(copyServer.Addr()), SrcPort: l.port, DstPort: copyServer.Port(), Proto: flow.TCP,
	}
	if from == 1 {
		t = t.Reverse()
	}
	return t
}

func (l *line) send(from int, flags flow.TCPFlags, payload string) {
	l.c.now += 1000
	l.c.liveCopy.now = l.c.now - l.c.set
	seg := flow.Segment{
		FiveTuple: l.tuple(from), Time: l.c.now, Cookie: l.cookie, Seq: l.seq[from], Ack: l.seq[1-from], Flags: flags,
		Payload: []byte(payload), Length: len(payload),
	}
	if payload == fragmented {
		seg.Packet = fragment
	}
	l.c.segment(&seg)
	l.seq[from] += uint32(len(payload))
	if flags.Has(flow.SYN) || flags.Has(flow.FIN) {
		l.seq[from]++
	}
}

// session is what the analysis reports of the conversation: the first hello bytes of the client, and the server's, are its handshake.
func (l *line) session(hello [2]int) *session.Session {
	s := &session.Session{
		Client: l.tuple(0).Src(), Server: l.tuple(0).Dst(), Cookie: l.cookie, Start: time.Unix(0, l.start), End: time.Unix(0, l.c.now),
		Verdict: session.VerdictOK, Process: &flow.Process{PID: 811, Comm: "a b", Exe: "/usr/bin/x\n", UID: 33, UIDKnown: true, Pod: "p-1", Unit: "u.service"},
	}
	for side, n := range hello {
		s.HandshakeEnd[side] = session.SequenceNumber{Number: []uint32{1001, 5001}[side] + uint32(n), Known: n > 0}
	}
	return s
}

// entry is a packet of the file.
type entry struct {
	port    uint16 // the client's
	payload string
	length  int
}

// read closes the copy and gives what is in it.
func (c *copied) read(t *testing.T) []entry {
	t.Helper()
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	return entriesOf(t, c.file.Bytes())
}

func entriesOf(t *testing.T, file []byte) []entry {
	t.Helper()
	r, err := pcapfile.Open([]string{"-"}, pcapfile.Options{Stdin: bytes.NewReader(file)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var (
		list []entry
		p    pcapfile.Packet
		d    = decode.New(decode.Options{})
	)
	for {
		if err := r.Next(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		var seg flow.Segment
		if d.Decode(uint32(p.Link), p.Data, p.Length, p.Time, &seg) != decode.Segment {
			t.Fatalf("packet %d cannot be decoded", p.Number)
		}
		list = append(list, entry{port: seg.SrcPort ^ seg.DstPort ^ copyServer.Port(), payload: string(seg.Payload), length: seg.Length})
	}
}

func payloads(list []entry) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.payload)
	}
	return out
}

// hello are bytes that begin as TLS does.
const hello = "\x16\x03\x01\x00\x05\x01\x00\x00\x01x"

func TestALiveCopyHoldsPacketsUntilTheirSessionIsReported(t *testing.T) {
	c := newCopied(false)
	l := c.dial(1000, 1)
	l.send(0, flow.ACK, hello)
	l.send(1, flow.ACK, hello)
	l.send(0, flow.ACK, "secret")
	c.tick(c.now)
	if n := len(entriesOf(t, c.file.Bytes())); n != 0 {
		t.Fatalf("%d packets before anybody knows", n)
	}
	c.session(l.session([2]int{len(hello), len(hello)}))
	l.send(1, flow.ACK, "secret")
	l.send(0, flow.ACK|flow.FIN, "")
	got := c.read(t)
	want := []entry{
		{port: 1000}, {port: 1000}, {port: 1000, payload: hello, length: len(hello)}, {port: 1000, payload: hello, length: len(hello)},
		{port: 1000, length: 6}, {port: 1000, length: 6}, {port: 1000},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if c.held != 0 || c.stats != (copyStats{written: 7}) {
		t.Errorf("held %d, %+v", c.held, c.stats)
	}
	if bytes.Contains(c.file.Bytes(), []byte("secret")) {
		t.Error("application data is in the file")
	}
	owner := `dynwatch: opened by pid=811 comm="a b" exe="/usr/bin/x\n" uid=33 pod=p-1 unit=u.service`
	if n := bytes.Count(c.file.Bytes(), []byte(owner)); n != 7 {
		t.Errorf("the owner stands in %d packets", n)
	}
	if n := bytes.Count(c.file.Bytes(), []byte("dynwatch: verdict ok")); n != 1 {
		t.Errorf("the verdict stands in %d packets", n)
	}
}

func TestALiveCopyHoldsNoPayloadOfCleartext(t *testing.T) {
	for whole, held := range map[bool]bool{false: false, true: true} {
		c := newCopied(whole)
		l := c.dial(1000, 1)
		l.send(0, flow.ACK, "POST / HTTP/1.1\r\n")
		kept := c.flows[copyKey{l.tuple(0), 1}]
		if kept == nil {
			kept = c.flows[copyKey{l.tuple(1), 1}]
		}
		got := false
		for _, p := range kept.packets {
			got = got || bytes.Contains(p.data, []byte("POST"))
		}
		if got != held {
			t.Errorf("whole packets %v: payload in memory %v", whole, got)
		}
		c.session(l.session([2]int{}))
		l.send(1, flow.ACK, "HTTP/1.1 200 OK\r\n")
		if got := payloads(c.read(t)); slices.Contains(got, "POST / HTTP/1.1\r\n") != held || slices.Contains(got, "HTTP/1.1 200 OK\r\n") != held {
			t.Errorf("whole packets %v: the file holds %q", whole, got)
		}
	}
}

func TestALiveCopyLetsGoOfWhatIsNotReported(t *testing.T) {
	c := newCopied(false)
	l := c.dial(1000, 1)
	l.send(0, flow.ACK, hello)
	k, _ := copyKeyOf(l.tuple(0), 1)
	c.over[k] = true
	l.send(1, flow.ACK, hello) // the next packet tells
	quiet := c.dial(1001, 2)
	k, _ = copyKeyOf(quiet.tuple(0), 2)
	c.over[k] = true
	c.tick(c.now) // or the time
	refused := c.dial(1002, 3)
	c.refuse(refused.session([2]int{}))
	refused.send(0, flow.ACK, hello)
	if c.held != 0 || len(c.flows) != 1 {
		t.Errorf("%d bytes, %d connections", c.held, len(c.flows))
	}
	if got := c.read(t); len(got) != 0 {
		t.Errorf("the file holds %+v", got)
	}
	if c.stats != (copyStats{}) {
		t.Errorf("%+v: nothing that matters was lost", c.stats)
	}
}

func TestALiveCopyIsBoundedAndCountsWhatDidNotFit(t *testing.T) {
	c := newCopied(false)
	long := c.dial(1000, 1)
	for range 400 {
		long.send(0, flow.ACK, hello+strings.Repeat("x", 1000))
	}
	if c.held > maxCopyFlowHeld || c.held < maxCopyFlowHeld/2 {
		t.Errorf("one connection holds %d bytes", c.held)
	}
	var many []*line
	for i := range uint16(400) {
		l := c.dial(2000+i, uint64(i)+2)
		for range 60 {
			l.send(0, flow.ACK, hello+strings.Repeat("x", 1000))
		}
		many = append(many, l)
		if c.held > maxCopyHeld {
			t.Fatalf("%d bytes are held", c.held)
		}
	}
	if c.held < maxCopyHeld/2 || c.stats.dropped != 0 { // nobody knows yet whether anybody wants them
		t.Errorf("%d bytes are held, %+v", c.held, c.stats)
	}
	c.session(many[len(many)-1].session([2]int{10, 10})) // the latest is whole
	if c.stats.dropped != 0 || c.stats.written != 62 {
		t.Errorf("of the latest: %+v", c.stats)
	}
	c.session(many[0].session([2]int{10, 10})) // the first had to make room
	if c.stats.dropped != 62 || c.stats.written != 62 {
		t.Errorf("of the first: %+v", c.stats)
	}
	many[0].send(0, flow.ACK|flow.FIN, "")
	if c.stats.written != 63 {
		t.Errorf("what comes after the report: %+v", c.stats)
	}
	for _, l := range many {
		c.forget(c.flows[must(copyKeyOf(l.tuple(0), l.cookie))])
	}
	c.forget(c.flows[must(copyKeyOf(long.tuple(0), 1))])
	if c.held != 0 || c.undecided.Len()+c.rest.Len() != 0 {
		t.Errorf("%d bytes are held of nobody", c.held)
	}
	c.close()
	if !strings.Contains(c.file.String(), "dynwatch: 62 packets before the report are not in this file") {
		t.Error("the file does not tell what it lacks")
	}
}

func must(k copyKey, _ int) copyKey { return k }

func TestALiveCopyRemembersBoundedlyManyConnections(t *testing.T) {
	c := newCopied(false)
	l := c.dial(1, 1)
	c.session(l.session([2]int{}))
	for i := range maxCopyFlows + 10 {
		c.dial(uint16(i), uint64(i)+2)
	}
	if len(c.flows) != maxCopyFlows || c.undecided.Len()+c.rest.Len() != maxCopyFlows || c.stats.forgotten == 0 {
		t.Errorf("%d connections, %+v", len(c.flows), c.stats)
	}
}

func TestALiveCopyForgetsConnectionsThatEndedOrFellSilent(t *testing.T) {
	c := newCopied(false)
	ended, silent, lively := c.dial(1, 1), c.dial(2, 2), c.dial(3, 3)
	for _, l := range []*line{ended, silent, lively} {
		c.session(l.session([2]int{}))
	}
	ended.send(0, flow.FIN|flow.ACK, "")
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{50 * time.Second, 3}, {30 * time.Second, 2}, {2 * time.Hour, 1}} {
		c.now += int64(step.after)
		lively.send(0, flow.ACK, "x")
		c.tick(c.now)
		if len(c.flows) != step.left {
			t.Errorf("%d connections are remembered, want %d", len(c.flows), step.left)
		}
	}
	if c.stats.forgotten != 0 {
		t.Errorf("%+v", c.stats)
	}
}

func TestALiveCopyForgetsAsEverWhereTheClockIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"back": -24 * time.Hour, "forward": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := newCopied(false)
			lively, ended := c.dial(1, 1), c.dial(2, 2)
			for _, l := range []*line{lively, ended} {
				c.session(l.session([2]int{}))
			}
			c.tick(c.now)
			c.now += int64(step)
			c.set = int64(step)
			ended.send(0, flow.FIN|flow.ACK, "")
			c.now += int64(time.Second)
			c.tick(c.now - c.set)
			if len(c.flows) != 2 {
				t.Errorf("%d connections are remembered, want both", len(c.flows))
			}
			c.now += int64(2 * time.Minute)
			lively.send(0, flow.ACK, "x")
			c.tick(c.now - c.set)
			if len(c.flows) != 1 {
				t.Errorf("%d connections are remembered, want the one that has not ended", len(c.flows))
			}
		})
	}
}

func TestALiveCopyTellsAnotherConnectionOfTheSameTupleApart(t *testing.T) {
	c := newCopied(false)
	first := c.dial(1000, 0)
	first.send(0, flow.ACK, hello)
	c.session(first.session([2]int{len(hello), 0}))
	first.send(0, flow.RST, "")
	second := c.dial(1000, 0)
	second.seq = [2]uint32{90001, 70001} // its SYNs had the numbers of the first, as if sent again
	if c.stats.written != 6 {
		t.Errorf("%+v: SYNs that are sent again are the connection's", c.stats)
	}
	third := &line{c: c, port: 1000, start: c.now + 1000, seq: [2]uint32{90000, 70000}}
	third.send(0, flow.SYN, "")
	third.send(0, flow.ACK, "\x16 not to be taken for the handshake of the first")
	if c.stats.written != 6 {
		t.Errorf("%+v: packets of a connection that nobody has judged yet", c.stats)
	}
}

func TestALiveCopySaysWhatShowedLater(t *testing.T) {
	c := newCopied(false)
	l := c.dial(1000, 1)
	s := l.session([2]int{})
	c.session(s)
	c.finding(s, session.Finding{Rule: "interception-refused", Severity: session.High, Message: "turned away"})
	l.send(0, flow.RST, "")
	c.close()
	if n := strings.Count(c.file.String(), "dynwatch: interception-refused (high): turned away"); n != 1 {
		t.Errorf("it stands in %d packets", n)
	}
	if n := strings.Count(c.file.String(), "dynwatch: verdict"); n != 1 {
		t.Errorf("the verdict stands in %d packets", n)
	}
}

func TestALiveCopyCountsFragmentsOfReportedSessions(t *testing.T) {
	c := newCopied(false)
	l := c.dial(1000, 1)
	l.send(0, flow.ACK, fragmented)
	c.session(l.session([2]int{}))
	l.send(0, flow.ACK, fragmented)
	if c.stats.dropped != 2 || c.stats.written != 2 {
		t.Errorf("%+v", c.stats)
	}
}
