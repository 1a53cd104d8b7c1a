package tlswire

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sort"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// tcpFlow is one TCP connection of a capture: the payload of both sides in the order of capture, as far as a simple
// reassembly goes. It is for tests: everything is kept, and fragments are not put together.
type tcpFlow struct {
	client, server netip.AddrPort
	dirs           [2]tcpDir
	events         []tcpEvent
	synSeq         uint32
	synSeen        bool
}

type tcpDir struct {
	next    uint32
	started bool
	held    []tcpPiece
}

type tcpPiece struct {
	seq  uint32
	data []byte
	wire int // bytes on the wire, more than data if a snap length cut it
}

// tcpEvent is data, or a hole of gap bytes, or (both zero) an end.
type tcpEvent struct {
	from session.Side
	data []byte
	gap  int
	rst  bool
	end  bool
}

// readFlows reads all TCP connections of a capture file.
func readFlows(path string) ([]*tcpFlow, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, err
		}
		r = bufio.NewReader(r)
	}
	magic, err := r.(*bufio.Reader).Peek(4)
	if err != nil {
		return nil, err
	}
	var next func() ([]byte, gopacket.CaptureInfo, error)
	var link layers.LinkType
	if magic[0] == 0x0a {
		ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, err
		}
		link = ng.LinkType()
		next = func() ([]byte, gopacket.CaptureInfo, error) {
			d, ci, err := ng.ReadPacketData()
			if len(ci.AncillaryData) > 0 {
				if t, ok := ci.AncillaryData[0].(layers.LinkType); ok {
					link = t
				}
			}
			return d, ci, err
		}
	} else {
		p, err := pcapgo.NewReader(r)
		if err != nil {
			return nil, err
		}
		link, next = p.LinkType(), p.ReadPacketData
	}

	var flows []*tcpFlow
	open := map[[2]netip.AddrPort]*tcpFlow{}
	for {
		data, _, err := next()
		if err != nil {
			if len(flows) == 0 && !errors.Is(err, io.EOF) {
				return nil, err
			}
			break
		}
		pkt := gopacket.NewPacket(data, linkDecoder(link), gopacket.DecodeOptions{NoCopy: true})
		src, dst, tcp, wire, ok := innermostTCP(pkt)
		if !ok {
			continue
		}
		key, rkey := [2]netip.AddrPort{src, dst}, [2]netip.AddrPort{dst, src}
		fl, side := open[key], session.Client
		if fl == nil {
			fl, side = open[rkey], session.Server
		}
		if fl != nil && tcp.SYN && !tcp.ACK && (!fl.synSeen || fl.synSeq != tcp.Seq) && len(fl.events) > 0 {
			fl = nil // the port is used again
			delete(open, key)
			delete(open, rkey)
		}
		if fl == nil {
			side = session.Client
			role, known := SniffRole(tcp.Payload)
			if !tcp.SYN && known && role == session.Server || tcp.SYN && tcp.ACK ||
				!tcp.SYN && !known && src.Port() < dst.Port() {
				side = session.Server
			}
			fl = &tcpFlow{client: src, server: dst}
			if side == session.Server {
				fl.client, fl.server = dst, src
			}
			fl.synSeen, fl.synSeq = tcp.SYN && !tcp.ACK, tcp.Seq
			open[[2]netip.AddrPort{fl.client, fl.server}] = fl
			flows = append(flows, fl)
		}
		fl.add(side, tcp, wire)
	}
	for _, fl := range flows {
		for side := range fl.dirs {
			fl.drain(session.Side(side), true)
		}
	}
	return flows, nil
}

func linkDecoder(l layers.LinkType) gopacket.Decoder {
	switch l {
	case 12, 14, 101: // raw IP
		return layers.LayerTypeIPv4
	case 228:
		return layers.LayerTypeIPv4
	case 229:
		return layers.LayerTypeIPv6
	}
	return l
}

// innermostTCP takes the last TCP layer and the addresses of the IP layer before it.
func innermostTCP(pkt gopacket.Packet) (src, dst netip.AddrPort, tcp *layers.TCP, wire int, ok bool) {
	var s, d netip.Addr
	ipPayload := 0
	for _, l := range pkt.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			s, _ = netip.AddrFromSlice(l.SrcIP.To4())
			d, _ = netip.AddrFromSlice(l.DstIP.To4())
			ipPayload = int(l.Length) - int(l.IHL)*4
		case *layers.IPv6:
			s, _ = netip.AddrFromSlice(l.SrcIP)
			d, _ = netip.AddrFromSlice(l.DstIP)
			ipPayload = int(l.Length)
		case *layers.TCP:
			tcp = l
			wire = ipPayload - int(l.DataOffset)*4
			src, dst = netip.AddrPortFrom(s, uint16(l.SrcPort)), netip.AddrPortFrom(d, uint16(l.DstPort))
			ok = s.IsValid()
		}
	}
	return src, dst, tcp, wire, ok
}

func (fl *tcpFlow) add(side session.Side, tcp *layers.TCP, wire int) {
	d := &fl.dirs[side]
	seq := tcp.Seq
	if tcp.SYN {
		if !d.started {
			d.next, d.started = seq+1, true
		}
		seq++
	}
	data := tcp.Payload
	if wire >= 0 && len(data) > wire {
		data = data[:wire] // Ethernet padding
	}
	if wire < len(data) {
		wire = len(data)
	}
	if wire > 0 {
		if !d.started {
			d.next, d.started = seq, true
		}
		d.held = append(d.held, tcpPiece{seq, append([]byte(nil), data...), wire})
		fl.drain(side, false)
	}
	if tcp.FIN || tcp.RST {
		fl.events = append(fl.events, tcpEvent{from: side, end: true, rst: tcp.RST})
	}
}

// drain moves what is in order from held to events; at the end over holes too.
func (fl *tcpFlow) drain(side session.Side, last bool) {
	d := &fl.dirs[side]
	sort.SliceStable(d.held, func(i, j int) bool { return int32(d.held[i].seq-d.held[j].seq) < 0 })
	for len(d.held) > 0 {
		p := d.held[0]
		ahead := int(int32(p.seq - d.next))
		if ahead > 0 {
			if !last {
				return
			}
			fl.events = append(fl.events, tcpEvent{from: side, gap: ahead})
			d.next = p.seq
			ahead = 0
		}
		d.held = d.held[1:]
		skip := -ahead
		if skip < p.wire {
			if skip < len(p.data) {
				fl.events = append(fl.events, tcpEvent{from: side, data: p.data[skip:]})
			}
			if cut := p.wire - max(len(p.data), skip); cut > 0 {
				fl.events = append(fl.events, tcpEvent{from: side, gap: cut})
			}
			d.next += uint32(p.wire - skip)
		}
	}
}

// feed runs the flow through c. ends are withheld until all data was fed, as reassembly finds late data.
func (fl *tcpFlow) feed(c *Conn) error {
	var first error
	for _, e := range fl.events {
		switch {
		case e.end:
		case e.gap > 0:
			c.Gap(e.from, e.gap)
		default:
			if err := c.Feed(e.from, e.data); err != nil && first == nil {
				first = fmt.Errorf("%s: %w", e.from, err)
			}
		}
	}
	for _, e := range fl.events {
		if e.end {
			c.Close(e.from, e.rst)
		}
	}
	c.End()
	return first
}
