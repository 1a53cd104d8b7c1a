package main

import (
	"crypto/tls"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/analyze"
	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/trust"
	"github.com/dynwatch/dynwatch/capture"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/live"
	"github.com/dynwatch/dynwatch/internal/synth"
)

// busySource is never idle. Its packets are dated by a clock that may be set; the time that passes between them is steady's.
type busySource struct {
	live.Source
	dated, steady time.Time
	segs          []flow.Segment
	after         []time.Duration // that passes before each of segs
	set           []time.Duration // by which the clock is set before each
}

func (s *busySource) add(after, set time.Duration, seg flow.Segment) {
	s.segs, s.after, s.set = append(s.segs, seg), append(s.after, after), append(s.set, set)
}

// others adds a second of other connections' packets; the clock is set before the first of them.
func (s *busySource) others(set time.Duration) {
	const every = 20 * time.Millisecond
	for i := range time.Second / every {
		s.add(every, set, flow.Segment{FiveTuple: tuple("192.0.2.1", uint16(20000+i), "192.0.2.3", 80), Flags: flow.SYN, Seq: 1})
		set = 0
	}
}

func (s *busySource) Next(seg *flow.Segment) error {
	if len(s.segs) == 0 {
		return io.EOF
	}
	s.steady = s.steady.Add(s.after[0])
	s.dated = s.dated.Add(s.after[0] + s.set[0])
	*seg = s.segs[0]
	seg.Time = s.dated.UnixNano()
	s.segs, s.after, s.set = s.segs[1:], s.after[1:], s.set[1:]
	return nil
}

func (s *busySource) Stats() capture.Stats { return capture.Stats{} }

func tuple(client string, clientPort uint16, server string, serverPort uint16) flow.FiveTuple {
	return flow.FiveTuple{
		SrcIP: flow.IPFrom(netip.MustParseAddr(client)), DstIP: flow.IPFrom(netip.MustParseAddr(server)), SrcPort: clientPort, DstPort: serverPort, Proto: flow.TCP,
	}
}

// A session that waits for application data comes after a second, and a handshake whose server thinks is waited for, on a host that is never
// idle and whose clock is set meanwhile.
func TestABusyHostsSessionsComeWhereTheClockIsSet(t *testing.T) {
	cert, err := testCA().Server(testKey(), liveName)
	if err != nil {
		t.Fatal(err)
	}
	d, err := synth.TLS(&tls.Config{ServerName: liveName, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		&tls.Config{Certificates: []tls.Certificate{cert}}, []byte("request"), []byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := endpoint.NewSet(endpoint.Embedded(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(trust.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for name, step := range map[string]time.Duration{"not set": 0, "back by an hour": -time.Hour, "forward by an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			src := &busySource{dated: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), steady: time.Unix(1000, 0)}
			there, seq := tuple("192.0.2.1", 40000, "192.0.2.2", 443), [2]uint32{1000, 2000}
			add := func(from int, flags flow.TCPFlags, payload []byte) {
				s := flow.Segment{FiveTuple: there, Cookie: 9, Seq: seq[from], Ack: seq[1-from], Flags: flags, Payload: payload, Length: len(payload)}
				if from == 1 {
					s.FiveTuple = there.Reverse()
				}
				seq[from] += uint32(len(payload))
				if flags.Has(flow.SYN) {
					seq[from]++
				}
				src.add(time.Millisecond, 0, s)
			}
			say := func(d synth.Dialogue) {
				for _, m := range d {
					from := 1
					if m.FromClient {
						from = 0
					}
					add(from, flow.ACK, m.Data)
				}
			}
			src.others(0)
			add(0, flow.SYN, nil)
			add(1, flow.SYN|flow.ACK, nil)
			say(d[:1])
			src.others(0)
			src.others(step)
			src.others(0)
			say(d[1:4]) // up to the server's Finished
			begun := len(src.segs)
			for range 10 {
				src.others(0)
			}
			rest := len(src.segs) - begun
			var got []*session.Session
			var waited time.Duration
			r := &liveRun{src: &live.Watch{Source: src, Kind: live.EBPF}, out: &report{}, now: func() time.Time { return src.steady }}
			r.analyzer = analyze.New(analyze.Options{
				Source: "ebpf", Live: true, Endpoints: set, Trust: store, Policy: &rules.Policy{},
				Emit: func(s *session.Session) {
					got = append(got, s)
					waited = time.Duration(rest-len(src.segs)) * 20 * time.Millisecond
				},
				EmitFinding: func(*session.Session, session.Finding) {},
			})
			if err := r.pump(); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].TLS == nil || got[0].TLS.Established != session.Yes {
				t.Fatalf("%d sessions: %+v", len(got), got)
			}
			if waited < time.Second-advanceEvery || waited > time.Second+2*advanceEvery {
				t.Errorf("it came %v after its last packet", waited)
			}
		})
	}
}
