package analyze

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dynwatch/dynwatch/analyze/dnswire"
	"github.com/dynwatch/dynwatch/analyze/rules"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// datagram reads a DNS answer over UDP.
func (a *Analyzer) datagram(seg *flow.Segment) {
	if seg.SrcPort == dnsPort {
		a.answer(&seg.FiveTuple, seg.Time, seg.Payload, seg.Length > len(seg.Payload))
	}
}

// answer learns from one DNS message sent by a resolver, and reports it if it is about a DynamoDB name.
func (a *Analyzer) answer(t *flow.FiveTuple, at int64, msg []byte, cut bool) {
	ans, err := dnswire.Parse(msg)
	if err != nil {
		if !cut {
			a.stats.DNSMalformed++
		}
		return
	}
	about := false
	for _, name := range ans.Names {
		if _, _, ok := a.o.Endpoints.Name(name, 0); ok {
			about = true
			a.resolved.Learn(name, ans.Addrs, ans.TTL, at)
		}
	}
	if !about {
		return
	}
	a.stats.DNSAnswers++
	if a.o.EmitDNS == nil {
		return
	}
	d := &session.DNS{
		Time: wallTime(at), Source: a.o.Source, Client: t.Dst(), Server: t.Src(),
		Question: ans.Question, QueryType: strings.TrimPrefix(ans.Type.String(), "Type"), RCode: rcode(ans.RCode), Names: ans.Names, Addrs: ans.Addrs,
	}
	if f := a.judgeAnswer(ans.Names, ans.Addrs); f != nil {
		d.Findings = append(d.Findings, *f)
	}
	a.o.EmitDNS(d)
}

// rcodes are the response codes by their IANA names; dnsmessage has Go's.
var rcodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

func rcode(r dnsmessage.RCode) string {
	if int(r) < len(rcodes) {
		return rcodes[r]
	}
	return strconv.Itoa(int(r))
}

// judgeAnswer says whether the addresses are where DynamoDB may be.
func (a *Analyzer) judgeAnswer(names []string, addrs []netip.Addr) *session.Finding {
	for _, name := range names {
		n, _, ok := a.o.Endpoints.Name(name, 0)
		if !ok {
			continue
		}
		list := make([]rules.Address, len(addrs))
		for i, addr := range addrs {
			list[i] = rules.Address{
				Addr: addr, AWS: session.TriOf(a.o.Endpoints.Ranges().IsAWS(flow.IPFrom(addr))),
				// The port that the client will use is not known yet: HTTPS's is the likely one.
				Allowed: session.TriOf(a.o.Endpoints.AddrAllowed(netip.AddrPortFrom(addr, httpsPort))),
			}
		}
		e := session.Endpoint{Service: n.Service, Region: n.Region, Partition: n.Partition, Kind: n.Kind, Name: name}
		return rules.CheckDNS(e, list)
	}
	return nil
}

// httpsPort is where DynamoDB's endpoints listen.
const httpsPort = 443

// wallTime converts a packet's time; zero, which captures use for unknown, stays zero.
func wallTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// maxDNSMessage bounds what is kept of a DNS message over TCP; longer ones are skipped.
const maxDNSMessage = 16 << 10

// dnsStreams cuts DNS over TCP into messages (RFC 1035, Section 4.2.2). Only the resolver's direction matters.
type dnsStreams struct {
	buf  []byte
	skip int
	lost bool
}

// gap gives the stream up: message boundaries are lost.
func (d *dnsStreams) gap(uint8) { d.lost, d.buf = true, nil }

func (a *Analyzer) feedDNS(c *conn, l *layer, dir uint8, data []byte) {
	d := l.dns
	if dir == c.client || d.lost {
		return
	}
	if d.skip > 0 {
		n := min(d.skip, len(data))
		d.skip -= n
		data = data[n:]
	}
	d.buf = append(d.buf, data...)
	for len(d.buf) >= 2 {
		n := int(binary.BigEndian.Uint16(d.buf))
		if n > maxDNSMessage {
			d.skip = max(0, 2+n-len(d.buf))
			d.buf = d.buf[min(2+n, len(d.buf)):]
			continue
		}
		if len(d.buf) < 2+n {
			return
		}
		t := c.tuple(dir)
		a.answer(&t, c.now, d.buf[2:2+n], false)
		d.buf = d.buf[2+n:]
	}
	if len(d.buf) == 0 {
		d.buf = nil
	}
}
