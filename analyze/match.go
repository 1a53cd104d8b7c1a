package analyze

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
	"github.com/dynwatch/dynwatch/analyze/session"
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

// matchName judges a host name that the client asked for, seen by way of how. It reports whether the name is DynamoDB's.
func (a *Analyzer) matchName(c *conn, host, how string) bool {
	if host == "" {
		return false
	}
	_, port := c.server()
	n, by, ok := a.o.Endpoints.Name(host, port)
	if !ok {
		return false
	}
	c.ours = true
	c.matchedBy(how)
	if by == endpoint.ByEndpoint {
		c.matchedBy(byEndpoint)
	}
	c.describe(n)
	if c.endpoint.Name == "" {
		c.endpoint.Name = plainHost(host)
	}
	return true
}

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
func (a *Analyzer) matchAddress(c *conn, host string) bool {
	if !c.byAddr || namesOther(host) && !c.ours {
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

// matchResolved judges the server's address by DNS answers, for a client that names nobody.
func (a *Analyzer) matchResolved(c *conn, host string) bool {
	ip, port := c.server()
	names := a.resolved.Lookup(ip, c.start)
	c.endpoint.Resolved = names
	if len(names) == 0 || host != "" && !isAddress(host) {
		return c.ours && slices.ContainsFunc(names, func(n string) bool { return n == c.endpoint.Name }) && c.noteDNS()
	}
	n, by, ok := a.o.Endpoints.Name(names[0], port)
	if !ok {
		return false
	}
	c.ours = true
	c.matchedBy(byDNS)
	if by == endpoint.ByEndpoint {
		c.matchedBy(byEndpoint)
	}
	c.describe(n)
	if c.endpoint.Name == "" {
		c.endpoint.Name = names[0]
	}
	return true
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

// isLocalHost reports whether host is this machine by name or address, or no host at all.
func isLocalHost(host string) bool {
	h := plainHost(host)
	if h == "" || h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(h)
	return err == nil && (addr.IsLoopback() || addr.IsUnspecified())
}

// locate notes what is known about the server's address.
func (a *Analyzer) locate(c *conn, e *session.Endpoint, server netip.AddrPort) {
	ip, _ := c.server()
	e.AddrDynamoDB = session.TriOf(c.byAddr)
	e.AddrAWS = session.TriOf(a.o.Endpoints.Ranges().IsAWS(ip))
	e.AddrAllowed = session.TriOf(a.o.Endpoints.AddrAllowed(server))
}
