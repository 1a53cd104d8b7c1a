package analyze

import (
	"errors"
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
	if !dnswire.MightConcern(msg, a.concern) {
		return
	}
	ans, err := dnswire.Parse(msg)
	if err != nil {
		if !cut && errors.Is(err, dnswire.ErrMalformed) {
			a.stats.DNSMalformed++
		}
		return
	}
	about := false
	for _, name := range ans.Names {
		about = a.resolved.Learn(name, ans.Addrs, ans.TTL, at) || about
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

// mayConcern reports whether a name may be DynamoDB's, by AWS's naming or the operator's word, on whatever port.
func (a *Analyzer) mayConcern(name []byte) bool { return a.resolved.Learn(string(name), nil, 0, 0) }

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

// The ports where DynamoDB's endpoints listen.
const (
	httpPort  = 80
	httpsPort = 443
)

// wallTime converts a packet's time; zero, which captures use for unknown, stays zero.
func wallTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// feedDNS reads DNS over TCP. Only the resolver's direction is read.
func (a *Analyzer) feedDNS(c *conn, l *layer, dir uint8, data []byte) {
	if dir == c.client {
		return
	}
	t := c.tuple(dir)
	for len(data) > 0 {
		var msg []byte
		l.gathered = min(l.gathered+len(data), 64<<10)
		if msg, data = l.dns.Feed(data); msg != nil {
			l.gathered = 0
			a.answer(&t, c.now, msg, false)
		}
	}
}
