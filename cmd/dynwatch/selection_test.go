package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/capture/pcapfile"
	"github.com/dynwatch/dynwatch/internal/flow"
)

func TestSelectionCutsBehindTheHandshake(t *testing.T) {
	client, server := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("52.94.5.7:443")
	start := time.Unix(100, 0)
	s := newSelection(false)
	s.add(&session.Session{
		Client: client, Server: server, Start: start, End: start.Add(time.Hour), Verdict: session.VerdictOK,
		HandshakeEnd: [2]session.SequenceNumber{session.Client: {Number: 44, Known: true}}, // 300 bytes from 0xffffff00
	})
	toServer := flow.FiveTuple{SrcIP: flow.IPFrom(client.Addr()), DstIP: flow.IPFrom(server.Addr()), SrcPort: 1000, DstPort: 443, Proto: flow.TCP}
	frame := make([]byte, 54+100)
	for _, tt := range []struct {
		name   string
		tuple  flow.FiveTuple
		seq    uint32
		at     time.Time
		ok     bool
		length int
	}{
		{"handshake is kept whole", toServer, 0xffffff00, start, true, 154},
		{"the segment in which it ends is cut there", toServer, 34, start, true, 64},
		{"data behind it is left out", toServer, 44, start, true, 54},
		{"what is sent again is kept again", toServer, 0xffffff00, start, true, 154},
		{"without a known end of the handshake no payload is kept", toServer.Reverse(), 5, start, true, 54},
		{"another session of the same tuple is none of ours", toServer, 0xffffff00, start.Add(2 * time.Hour), false, 0},
		{"another tuple neither", flow.FiveTuple{SrcIP: toServer.SrcIP, DstIP: toServer.DstIP, SrcPort: 1001, DstPort: 443, Proto: flow.TCP}, 0xffffff00, start, false, 0},
		{"two megabytes on", toServer, 2 << 20, start, true, 54},
		{"sequence numbers that came round are no handshake", toServer, 0xfffffe00, start, true, 54},
	} {
		seg := &flow.Segment{FiveTuple: tt.tuple, Seq: tt.seq, Payload: frame[54:], Length: 100}
		data, _, ok := s.cut(seg, &pcapfile.Packet{Data: frame, Time: tt.at.UnixNano(), TimeKnown: true})
		if ok != tt.ok || len(data) != tt.length {
			t.Errorf("%s: %v, %d bytes, want %v, %d", tt.name, ok, len(data), tt.ok, tt.length)
		}
	}
	// A payload put together from fragments does not lie in the frame.
	seg := &flow.Segment{FiveTuple: toServer, Seq: 0, Payload: make([]byte, 100), Length: 100}
	if _, _, ok := s.cut(seg, &pcapfile.Packet{Data: frame, Time: start.UnixNano(), TimeKnown: true}); ok {
		t.Error("a fragment was taken for the whole packet")
	}
}
