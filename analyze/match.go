package analyze

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/analyze/tlswire"
)

// The words of matched_by, in the order of output. Response stands for DynamoDB's own answers where the client's side was not captured.
const (
	byRange       = "range"
	bySNI         = "sni"
	byHost        = "host"
	byDNS         = "dns"
	byTarget      = "target"
	byPath        = "path"
	byScope       = "scope"
	byResponse    = "response"
	byConnect     = "connect"
	byCertificate = "certificate"
	byEndpoint    = "endpoint"
	byPort        = "port"
)

var matchOrder = []string{
	byRange, bySNI, byHost, byDNS, byTarget, byPath, byScope, byResponse, byConnect, byCertificate, byEndpoint, byPort,
}

// matchedBy adds a proof that the session is DynamoDB's.
func (c *conn) matchedBy(how string) {
	if slices.Contains(c.endpoint.MatchedBy, how) {
		return
	}
	c.endpoint.MatchedBy = append(c.endpoint.MatchedBy, how)
	slices.SortFunc(c.endpoint.MatchedBy, func(a, b string) int { return slices.Index(matchOrder, a) - slices.Index(matchOrder, b) })
}

// matchName judges a host name that the client asked for, on a port unless it bears one itself, seen by way of how. It reports whether the name is
// DynamoDB's.
func (a *Analyzer) matchName(c *conn, host string, port uint16, how string) bool {
	if host == "" {
		return false
	}
	n, by, ok := a.o.Endpoints.Name(host, port)
	if !ok {
		return false
	}
	c.matched(n, by, how)
	if c.endpoint.Name == "" {
		c.endpoint.Name = plainHost(host)
	}
	return true
}

// matched notes what a name of DynamoDB's says, which was seen by way of how, and known by AWS's naming or the operator's list.
func (c *conn) matched(n endpoint.Name, by, how string) {
	c.ours = true
	c.matchedBy(how)
	if by == endpoint.ByEndpoint {
		c.matchedBy(byEndpoint)
	}
	c.describe(n)
}

// askedPort is the port that the client means: the one it connects to, or has a proxy connect to.
func (c *conn) askedPort() uint16 {
	if c.proxy == nil {
		_, port := c.server()
		return port
	}
	i := strings.LastIndexByte(c.proxy.Target, ':')
	if port, err := strconv.ParseUint(c.proxy.Target[i+1:], 10, 16); i >= 0 && err == nil {
		return uint16(port)
	}
	return httpsPort
}

// matchCertificate judges a session without SNI by the names of the leaf. A wildcard counts if what it stands for is DynamoDB's alone: one
// over all of a Region's services says nothing.
func (a *Analyzer) matchCertificate(c *conn, f *tlswire.Facts) bool {
	if len(f.Chain.Certificates) == 0 {
		return false
	}
	r := a.o.Trust.Judge(f.Chain.Certificates, a.query(c, ""))
	if r.Certificate == nil {
		return false
	}
	port := c.askedPort()
	for _, name := range r.Certificate.Names {
		if a.matchName(c, name, port, byCertificate) {
			return true
		}
	}
	for _, name := range r.Certificate.Names {
		below, ok := strings.CutPrefix(name, "*.")
		if !ok {
			continue
		}
		for _, label := range wildcardLabels {
			if n, by, ok := a.o.Endpoints.Name(label+below, port); ok {
				n.Account, n.VPCE, n.Zone = "", "", ""
				c.matched(n, by, byCertificate)
				return true
			}
		}
	}
	return false
}

// wildcardLabels are what a wildcard stands for in the names of accounts and of interface endpoints.
var wildcardLabels = [...]string{"123456789012.", "vpce-0123456789abcdef0-abcdefgh."}

// describe fills in what a name says, where nothing better is known.
func (c *conn) describe(n endpoint.Name) {
	e := &c.endpoint
	fill := func(dst *string, v string) {
		if *dst == "" {
			*dst = v
		}
	}
	fill(&e.Service, n.Service)
	fill(&e.Region, n.Region)
	fill(&e.Partition, n.Partition)
	fill(&e.Kind, n.Kind)
}

// matchAddress judges the server's address: DynamoDB's own ranges, unless the client asked for a name, which says more than the address does.
// A name that is no DynamoDB's makes the session none, whatever the address: look-alikes and other services' names included.
func (a *Analyzer) matchAddress(c *conn, host string, ours bool) bool {
	if !c.byAddr || namesOther(host) && !ours {
		return false
	}
	c.ours = true
	c.matchedBy(byRange)
	ip, _ := c.server()
	n := endpoint.Name{Service: endpoint.DynamoDB, Kind: endpoint.KindPublic}
	if region, partition, ok := a.o.Endpoints.Ranges().DynamoDBRegion(ip); ok {
		n.Region, n.Partition = region, partition
	}
	c.describe(n)
	return true
}

// matchServer judges the server's address by AWS's ranges and by DNS answers, host being what the client asked for, and ours whether that is
// DynamoDB's. The address of a proxy says nothing of the endpoint's.
func (a *Analyzer) matchServer(c *conn, host string, ours bool) bool {
	if c.proxy != nil {
		return ours
	}
	byRange := a.matchAddress(c, host, ours)
	return a.matchResolved(c, host) || byRange || ours
}

// matchResolved judges the server's address by DNS answers, for a client that names nobody.
func (a *Analyzer) matchResolved(c *conn, host string) bool {
	ip, port := c.server()
	names := a.resolved.Lookup(ip, c.start)
	c.endpoint.Resolved = names
	if len(names) == 0 || host != "" && !isAddress(host) {
		return c.ours && slices.ContainsFunc(names, func(n string) bool { return n == c.endpoint.Name }) && c.noteDNS()
	}
	for _, name := range names {
		if n, by, ok := a.o.Endpoints.Name(name, port); ok {
			c.matched(n, by, byDNS)
			if c.endpoint.Name == "" {
				c.endpoint.Name = name
			}
			return true
		}
	}
	return false
}

func (c *conn) noteDNS() bool {
	c.matchedBy(byDNS)
	return true
}

// namesOther reports whether host is a name, and not DynamoDB's as the callers have found out already.
func namesOther(host string) bool { return host != "" && !isAddress(host) }

// plainHost is a host without port, brackets and trailing dot, in lower case.
func plainHost(host string) string {
	if ap, err := netip.ParseAddrPort(host); err == nil {
		return ap.Addr().String()
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host, ':') == i {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// isAddress reports whether host is an IP address literal, with or without port.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(plainHost(host))
	return err == nil
}

// isLocalHost reports whether host is this machine by name or address.
func isLocalHost(host string) bool {
	h := plainHost(host)
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(h)
	return err == nil && (addr.IsLoopback() || addr.IsUnspecified())
}

// locate notes what is known about the server's address, as far as that is the endpoint's.
func (a *Analyzer) locate(c *conn, s *session.Session) {
	e := &s.Endpoint
	if t := s.TLS; t != nil && !t.ServerHelloSeen && t.Alert == nil && !c.endSeen && !c.byAddr {
		return // the capture ends before the answer, which may prove the server to be the endpoint
	}
	st := &c.streams[c.client]
	if lost := c.relayed || c.outer.http != nil && (st.gapBytes > 0 || st.truncated > 0); lost && c.proxy == nil && !c.byAddr {
		return // who listens there may pass the bytes on, nobody knows where to
	}
	ip, _ := c.server()
	e.AddrDynamoDB = session.TriOf(c.byAddr)
	e.AddrAWS = session.TriOf(a.o.Endpoints.Ranges().IsAWS(ip))
	e.AddrAllowed = session.TriOf(a.o.Endpoints.AddrAllowed(s.Server))
}
