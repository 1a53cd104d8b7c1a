package main

import (
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// selection knows the packets of the reported sessions. Of their payload it lets only handshakes through, unless whole packets were
// asked for: requests, answers and credentials stay out of the copy, as they stay out of every other output.
type selection struct {
	whole bool
	flows map[flow.FiveTuple][]*chosen // by the client's direction
}

type chosen struct {
	start, end int64
	comments   []string
	told       bool
	handshake  [2]session.SequenceNumber
	past       [2]bool // the stream is far behind the handshake: sequence numbers that seem to lie before it came round
}

// farBehind is how many bytes behind the handshake nothing of it is sent again. Sequence numbers come round after 4 GiB.
const farBehind = 1 << 20

func newSelection(whole bool) *selection {
	return &selection{whole: whole, flows: make(map[flow.FiveTuple][]*chosen)}
}

// add selects the packets of a session.
func (s *selection) add(x *session.Session) {
	key := flow.FiveTuple{
		SrcIP: flow.IPFrom(x.Client.Addr()), DstIP: flow.IPFrom(x.Server.Addr()),
		SrcPort: x.Client.Port(), DstPort: x.Server.Port(), Proto: flow.TCP,
	}
	c := &chosen{comments: comments(x), handshake: x.HandshakeEnd}
	if !x.Start.IsZero() {
		c.start, c.end = x.Start.UnixNano(), x.End.UnixNano()
	}
	s.flows[key] = append(s.flows[key], c)
}

// comments say the verdict and each finding, for the session's first packet.
func comments(x *session.Session) []string {
	lines := []string{"dynwatch: verdict " + string(x.Verdict)}
	for _, f := range x.Findings {
		lines = append(lines, findingComment(f))
	}
	return lines
}

func findingComment(f session.Finding) string {
	return fmt.Sprintf("dynwatch: %s (%s): %s", f.Rule, f.Severity, f.Message)
}

// cut returns what of a packet is written, and the comments that go with it. ok is false if the packet is of no selected session, or
// came as IP fragments, whose other pieces are not at hand.
func (s *selection) cut(seg *flow.Segment, p *pcapfile.Packet) (data []byte, comments []string, ok bool) {
	from := session.Client
	list := s.flows[seg.FiveTuple]
	if list == nil {
		from, list = session.Server, s.flows[seg.FiveTuple.Reverse()]
	}
	for _, c := range list {
		if p.TimeKnown && c.end != 0 && (p.Time < c.start || p.Time > c.end) {
			continue
		}
		header, whole := decode.HeadLength(p.Data, seg.Payload)
		if !whole {
			return nil, nil, false
		}
		if !c.told {
			c.told, comments = true, c.comments
		}
		if s.whole {
			return p.Data, comments, true
		}
		return p.Data[:header+c.handshakeBytes(from, firstByte(seg), len(seg.Payload))], comments, true
	}
	return nil, nil, false
}

// firstByte is the number of a segment's first payload byte, which a SYN stands before (RFC 9293, Section 3.4; fast open: RFC 7413).
func firstByte(seg *flow.Segment) uint32 {
	if seg.Flags.Has(flow.SYN) {
		return seg.Seq + 1
	}
	return seg.Seq
}

// handshakeBytes is how much of a segment's payload, n bytes from seq on, belongs to the handshake.
func (c *chosen) handshakeBytes(from session.Side, seq uint32, n int) int {
	end := c.handshake[from]
	if !end.Known || c.past[from] {
		return 0
	}
	left := int(int32(end.Number - seq))
	c.past[from] = left < -farBehind
	return min(max(left, 0), n)
}
