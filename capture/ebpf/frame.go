package ebpf

import (
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/capture/decode"
	"github.com/dynwatch/dynwatch/capture/rawip"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// FrameInterface names the interface of frames that this source makes.
const FrameInterface = "dynwatch-ebpf"

// Frame implements capture.Framer: there was no packet at the hooks, so it makes one of the segment's own facts, from the IP header on (see
// package rawip for what is made up). It returns false for what is not TCP. Who calls Next may call it.
func (s *Source) Frame(seg *flow.Segment, f *capture.Frame) bool {
	if seg.Proto != flow.TCP {
		return false
	}
	s.head = rawip.AppendHead(s.head[:0], seg)
	*f = capture.Frame{
		Link: decode.LinkRaw, Interface: FrameInterface, Head: s.head, Payload: seg.Payload, Length: len(s.head) + max(seg.Length, len(seg.Payload)),
	}
	return true
}
