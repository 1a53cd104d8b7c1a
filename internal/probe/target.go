package probe

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

// A Target is an endpoint to probe.
type Target struct {
	// Host is a name, in lower case, without a trailing dot unless it was given with one; "" for a bare address.
	Host string
	// Addr, if valid, is where to connect to, whatever the name's addresses are.
	Addr netip.Addr
	Port uint16
}

// The ports of TLS: of DynamoDB, and of DAX clusters.
const (
	portHTTPS = 443
	portDAX   = 9111
)

// ParseTarget reads HOST[:PORT], where HOST is a name or an address, IPv6 in brackets if a port follows.
func ParseTarget(s string) (Target, error) {
	fail := func(format string, args ...any) (Target, error) {
		return Target{}, fmt.Errorf("target %q: %s", s, fmt.Sprintf(format, args...))
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		rest, _, _ = strings.Cut(rest, "/")
		return fail("leave %s:// out: write %s", scheme, rest)
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return Target{Addr: a.Unmap(), Port: portHTTPS}, nil
	}
	host, t := s, Target{}
	if h, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("%q is no port", port)
		}
		host, t.Port = h, uint16(n)
		if a, err := netip.ParseAddr(host); err == nil {
			t.Addr = a.Unmap()
			return t, nil
		}
	}
	// What an operator may name as an endpoint is what can be probed.
	e, err := endpoint.ParseEndpoint(strings.TrimSuffix(host, "."))
	if err != nil || e.Wildcard || e.Prefix.IsValid() || e.Port != 0 {
		return fail("neither a host name nor an address, with a port or without")
	}
	t.Host = strings.ToLower(host)
	if t.Port == 0 {
		t.Port = portHTTPS
		if n, ok := endpoint.ParseName(host); ok && n.Service == endpoint.DAX {
			t.Port = portDAX
		}
	}
	return t, nil
}

// name is the host as it stands in a ClientHello and in output.
func (t *Target) name() string { return strings.TrimSuffix(t.Host, ".") }
