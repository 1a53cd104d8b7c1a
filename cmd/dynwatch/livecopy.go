package main

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/ebpf"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// What a live copy holds of connections of which nobody knows yet whether they will be reported.
const (
	// maxCopyHeld and maxCopyFlowHeld bound the bytes of packets, of all connections and of one. A handshake and what surrounds it is smaller.
	maxCopyHeld     = 16 << 20
	maxCopyFlowHeld = 160 << 10
	// heldCost is what a held packet takes beyond its bytes.
	heldCost = 128
	// maxCopyFlows bounds the connections that are remembered.
	maxCopyFlows = 64 << 10
	// copySweepEvery, in nanoseconds, is how often connections are forgotten that can have no more packets: those that ended copyEnded ago, and
	// those that were silent for copySilent.
	copySweepEvery = int64(1e9)
	copyEnded      = int64(60e9)
	copySilent     = int64(3600e9)
	// maxLaterComments bounds the findings that wait for a packet of their connection.
	maxLaterComments = 16
)

// liveCopy writes the packets of reported sessions as they come. What came before the report is held until then, within bounds; what did not
// fit is counted. Of payload it lets through what the copy of a file does (see selection), and holds no payload of a connection that begins in
// cleartext.
type liveCopy struct {
	w       *pcapfile.Writer
	to      io.WriteCloser
	whole   bool // --write-payload
	source  capture.Framer
	follows func(*flow.FiveTuple, uint64) bool

	flows map[copyKey]*copiedFlow
	// undecided are the flows that hold packets, in the order in which they began; rest are all others, by their last packets.
	undecided, rest list.List
	held            int   // bytes
	now             int64 // what tick was told last, by which connections grow old
	swept           int64 // by now
	frame           capture.Frame
	buf             []byte
	stats           copyStats
	err             error
}

// copyStats count what a copy lacks.
type copyStats struct {
	written uint64
	// dropped are packets of reported sessions that are not in the copy: there was no room for them before the report, or they came as IP fragments.
	dropped uint64
	// forgotten are connections that were remembered no longer while packets of theirs might still come.
	forgotten uint64
}

// copyKey tells connections apart, whichever way a packet goes.
type copyKey struct {
	tuple  flow.FiveTuple // the lower end is the source
	cookie uint64
}

// copiedFlow is what a copy knows of one connection.
type copiedFlow struct {
	key     copyKey
	element *list.Element // of the list it is in
	last    int64         // packet, by liveCopy.now
	ended   bool
	syn     [2]flowSYN // by direction of the key

	packets []heldPacket
	bytes   int
	dropped uint64
	clear   bool // begins in cleartext: no payload is held
	spent   bool // its packets had to make room, and no more are held
	refused bool // its session is not for this report

	reported *chosen
	client   int // direction in which the client sends, once reported
	owner    string
}

type flowSYN struct {
	number uint32
	seen   bool
}

type heldPacket struct {
	time   int64
	dir    int
	seq    uint32
	link   pcapfile.LinkType
	iface  string
	data   []byte // head and payload
	head   int
	length int // on the wire
}

func newLiveCopy(to io.WriteCloser, whole bool, source string, frames capture.Framer) *liveCopy {
	o := pcapfile.WriterOptions{Application: "dynwatch " + version}
	if source == "ebpf" {
		o.Comment = "Packets of interface " + ebpf.FrameInterface + " are rebuilt from what sockets sent and received, as the kernel's eBPF hooks showed it: " +
			"addresses, ports, numbers, flags and lengths are true; time to live, window and options are made up; packets without payload are left out."
	}
	return &liveCopy{w: pcapfile.NewWriter(to, o), to: to, whole: whole, source: frames, flows: make(map[copyKey]*copiedFlow)}
}

func copyKeyOf(t flow.FiveTuple, cookie uint64) (k copyKey, dir int) {
	if src, dst := t.Src(), t.Dst(); src.Compare(dst) > 0 {
		t, dir = t.Reverse(), 1
	}
	return copyKey{t, cookie}, dir
}

// segment takes the packet of a segment that the analysis has just read.
func (c *liveCopy) segment(seg *flow.Segment) {
	if c == nil || c.err != nil || seg.Proto != flow.TCP {
		return
	}
	key, dir := copyKeyOf(seg.FiveTuple, seg.Cookie)
	f := c.flows[key]
	syn := seg.Flags&(flow.SYN|flow.ACK) == flow.SYN
	if f != nil && syn && (f.reported != nil || f.refused) && f.syn[dir] != (flowSYN{seg.Seq, true}) {
		c.forget(f) // another connection on the same five-tuple
		f = nil
	}
	if f == nil || f.reported == nil && !f.refused {
		if !c.follows(&seg.FiveTuple, seg.Cookie) {
			if f != nil {
				c.forget(f)
			}
			return
		}
		if f == nil {
			f = c.add(key)
		}
	}
	f.last = c.now
	if seg.Flags.Has(flow.SYN) {
		f.syn[dir] = flowSYN{seg.Seq, true}
	}
	f.ended = f.ended || seg.Flags&(flow.FIN|flow.RST) != 0
	switch {
	case f.refused:
		c.rest.MoveToBack(f.element)
	case f.spent && f.reported == nil:
		c.rest.MoveToBack(f.element)
		f.dropped++
	case f.reported == nil:
		c.hold(f, dir, seg)
	default:
		c.rest.MoveToBack(f.element)
		if !c.source.Frame(seg, &c.frame) {
			c.stats.dropped++
			return
		}
		c.buf = append(append(c.buf[:0], c.frame.Head...), c.frame.Payload...)
		c.write(f, &heldPacket{
			time: seg.Time, dir: dir, seq: firstByte(seg), link: pcapfile.LinkType(c.frame.Link), iface: c.frame.Interface,
			data: c.buf, head: len(c.frame.Head), length: c.frame.Length,
		})
	}
}

// hold keeps a packet until it is known whether its session is reported.
func (c *liveCopy) hold(f *copiedFlow, dir int, seg *flow.Segment) {
	if !c.source.Frame(seg, &c.frame) {
		f.dropped++
		return
	}
	payload := c.frame.Payload
	// Its very first byte tells: of what is not TLS from there on no handshake is ever written.
	if !c.whole && !f.clear && len(payload) > 0 && f.syn[dir].seen && seg.Seq == f.syn[dir].number+1 {
		f.clear = tlswire.Sniff(payload, session.Client) == tlswire.No && tlswire.Sniff(payload, session.Server) == tlswire.No
	}
	if f.clear {
		payload = nil
	}
	size := len(c.frame.Head) + len(payload) + heldCost
	if f.bytes+size > maxCopyFlowHeld {
		f.dropped++
		return
	}
	for c.held+size > maxCopyHeld {
		c.spend(c.undecided.Front().Value.(*copiedFlow))
		if f.spent {
			f.dropped++
			return
		}
	}
	data := make([]byte, 0, len(c.frame.Head)+len(payload))
	data = append(append(data, c.frame.Head...), payload...)
	f.packets = append(f.packets, heldPacket{
		time: seg.Time, dir: dir, seq: firstByte(seg), link: pcapfile.LinkType(c.frame.Link), iface: c.frame.Interface,
		data: data, head: len(c.frame.Head), length: c.frame.Length,
	})
	f.bytes += size
	c.held += size
}

// spend drops what a flow holds, to make room.
func (c *liveCopy) spend(f *copiedFlow) {
	f.dropped += uint64(len(f.packets))
	f.spent = true
	c.release(f)
}

// release moves a flow that holds nothing any more to the rest.
func (c *liveCopy) release(f *copiedFlow) {
	c.held -= f.bytes
	f.packets, f.bytes = nil, 0
	c.unlink(f)
	f.element = c.rest.PushBack(f)
}

// unlink takes a flow out of its list. The one that it is not in is left alone.
func (c *liveCopy) unlink(f *copiedFlow) {
	c.undecided.Remove(f.element)
	c.rest.Remove(f.element)
}

func (c *liveCopy) add(key copyKey) *copiedFlow {
	if len(c.flows) >= maxCopyFlows {
		l := &c.rest
		if l.Len() == 0 {
			l = &c.undecided
		}
		old := l.Front().Value.(*copiedFlow)
		if !old.ended {
			c.stats.forgotten++
		}
		c.forget(old)
	}
	f := &copiedFlow{key: key, last: c.now}
	f.element = c.undecided.PushBack(f)
	c.flows[key] = f
	return f
}

func (c *liveCopy) forget(f *copiedFlow) {
	c.held -= f.bytes
	c.unlink(f)
	delete(c.flows, f.key)
}

// flowOf finds the flow of a session, and adds it if its packets are still to come.
func (c *liveCopy) flowOf(s *session.Session) (f *copiedFlow, client int) {
	key, client := copyKeyOf(flow.FiveTuple{
		SrcIP: flow.IPFrom(s.Client.Addr()), DstIP: flow.IPFrom(s.Server.Addr()), SrcPort: s.Client.Port(), DstPort: s.Server.Port(), Proto: flow.TCP,
	}, s.Cookie)
	if f = c.flows[key]; f == nil {
		f = c.add(key)
	}
	return f, client
}

// session takes a reported session: its packets are written from now on, and those that are held, at once.
func (c *liveCopy) session(s *session.Session) {
	if c == nil || c.err != nil {
		return
	}
	f, client := c.flowOf(s)
	packets, dropped := f.packets, f.dropped
	c.release(f)
	f.reported, f.client, f.owner, f.dropped = &chosen{comments: comments(s), handshake: s.HandshakeEnd}, client, owner(s), 0
	f.refused = false
	if f.owner == "" {
		f.reported.comments = append(f.reported.comments, "dynwatch: nobody knows who opened the connection")
	}
	if s.RedirectedTo.IsValid() {
		f.reported.comments = append(f.reported.comments, "dynwatch: redirected to "+s.RedirectedTo.String())
	}
	if dropped > 0 {
		f.reported.comments = append(f.reported.comments, fmt.Sprintf("dynwatch: %d packets before the report are not in this file: too many were waiting", dropped))
		c.stats.dropped += dropped
	}
	for i := range packets {
		if packets[i].time >= s.Start.UnixNano() { // an earlier one is of an earlier connection
			c.write(f, &packets[i])
		}
	}
}

// finding takes what showed after its session was reported.
func (c *liveCopy) finding(s *session.Session, x session.Finding) {
	if c == nil || c.err != nil {
		return
	}
	if f, _ := c.flowOf(s); f.reported != nil && len(f.reported.comments) < maxLaterComments {
		if f.reported.told {
			f.reported.told, f.reported.comments = false, nil
		}
		f.reported.comments = append(f.reported.comments, findingComment(x))
	}
}

// refuse takes a session that is not reported here: another process's than the command's.
func (c *liveCopy) refuse(s *session.Session) {
	if c == nil || c.err != nil {
		return
	}
	f, _ := c.flowOf(s)
	c.release(f)
	f.refused = true
}

// write writes a packet of a reported flow, as much of it as may be.
func (c *liveCopy) write(f *copiedFlow, p *heldPacket) {
	if c.err != nil {
		return
	}
	data := p.data
	if !c.whole {
		from := session.Client
		if p.dir != f.client {
			from = session.Server
		}
		data = data[:p.head+f.reported.handshakeBytes(from, p.seq, len(data)-p.head)]
	}
	var lines []string
	if !f.reported.told {
		f.reported.told = true
		lines = append(lines, f.reported.comments...)
	}
	if f.owner != "" {
		lines = append(lines, f.owner)
	}
	err := c.w.WritePacket(&pcapfile.Packet{Time: p.time, TimeKnown: true, Data: data, Length: p.length, Link: p.link}, p.iface, lines...)
	if err != nil {
		c.err = fmt.Errorf("--write: %w", err)
		return
	}
	c.stats.written++
}

// tick does what time demands: what is written reaches its reader, and what cannot matter any more is forgotten. now is in nanoseconds of a clock
// that does not jump, unlike that of packets.
func (c *liveCopy) tick(now int64) {
	if c == nil || c.err != nil {
		return
	}
	if err := c.w.Flush(); err != nil {
		c.err = fmt.Errorf("--write: %w", err)
		return
	}
	if c.now = now; now-c.swept < copySweepEvery {
		return
	}
	c.swept = now
	var next *list.Element
	for e := c.undecided.Front(); e != nil; e = next {
		next = e.Next()
		if f := e.Value.(*copiedFlow); !c.follows(&f.key.tuple, f.key.cookie) {
			c.forget(f)
		}
	}
	for e := c.rest.Front(); e != nil; e = next {
		next = e.Next()
		f := e.Value.(*copiedFlow)
		silent := now - f.last
		if silent < copyEnded {
			break // the others were heard of later, more or less
		}
		if f.ended || silent > copySilent {
			c.forget(f)
		}
	}
}

// failed reports whether nothing more can be written. That the reader has gone is a quiet end, which goes to quiet.
func (c *liveCopy) failed(quiet *error) bool {
	if c == nil || c.err == nil {
		return false
	}
	if errors.Is(c.err, syscall.EPIPE) && *quiet == nil {
		*quiet = c.err
	}
	return true
}

// close completes the file.
func (c *liveCopy) close() error {
	if c == nil {
		return nil
	}
	err := c.err
	if ferr := c.w.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("--write: %w", ferr)
	}
	if cerr := c.to.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("--write: %w", cerr)
	}
	if c.err == nil {
		c.err = errCopyClosed
	}
	return err
}

// errCopyClosed keeps a copy that was closed from being written to.
var errCopyClosed = errors.New("--write: closed")

// fill adds the copy's counters to the summary's.
func (c *liveCopy) fill(loss map[string]uint64) {
	if c != nil {
		loss["write.packets_dropped"], loss["write.connections_forgotten"] = c.stats.dropped, c.stats.forgotten
	}
}

// owner says who opened a session's connection, for each of its packets; "" if nobody knows.
func owner(s *session.Session) string {
	p := s.Process
	if p == nil || p.PID == 0 && p.Comm == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("dynwatch: opened by pid=" + strconv.Itoa(p.PID))
	for _, x := range [...]struct{ name, value string }{
		{"comm", p.Comm}, {"exe", p.Exe}, {"user", p.User}, {"container", p.ContainerID}, {"container_name", p.ContainerName}, {"runtime", p.Runtime},
		{"pod", p.Pod}, {"namespace", p.Namespace}, {"unit", p.Unit},
	} {
		if x.value != "" {
			b.WriteString(" " + x.name + "=" + word(x.value))
		}
		if x.name == "exe" && p.UIDKnown {
			b.WriteString(" uid=" + strconv.FormatUint(uint64(p.UID), 10))
		}
	}
	return b.String()
}

// word quotes what would not stand as one word in a line: a process chooses its own names.
func word(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '\\' || r == unicode.ReplacementChar || !unicode.IsPrint(r)
	}) {
		return strconv.QuoteToASCII(s)
	}
	return s
}
