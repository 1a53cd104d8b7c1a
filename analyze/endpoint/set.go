package endpoint

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// How Set.Name knew a name; the words of the output's matched_by are the caller's.
const (
	ByName     = "name"     // AWS's naming
	ByEndpoint = "endpoint" // the operator's list
)

// Set is what one run knows: an edition of AWS's ranges and the operator's endpoints. It does not change, so any goroutine may use it.
type Set struct {
	ranges    *Ranges
	endpoints []Endpoint
	names     map[nameKey][]uint16 // the ports of every name among endpoints
	addresses []Endpoint
}

type nameKey struct {
	name     string
	wildcard bool
}

// NewSet takes the values of --endpoint (see ParseEndpoint); the first that is wrong is the error. r must not be nil.
//
// A name makes its sessions DynamoDB's. A prefix makes nothing DynamoDB's: it says where a DynamoDB name may live.
func NewSet(r *Ranges, endpoints []string) (*Set, error) {
	s := &Set{ranges: r, names: make(map[nameKey][]uint16)}
	seen := make(map[Endpoint]bool)
	for _, text := range endpoints {
		e, err := ParseEndpoint(text)
		if err != nil {
			return nil, err
		}
		if seen[e] {
			continue
		}
		seen[e] = true
		s.endpoints = append(s.endpoints, e)
		if e.Prefix.IsValid() {
			s.addresses = append(s.addresses, e)
		} else {
			key := nameKey{e.Name, e.Wildcard}
			s.names[key] = append(s.names[key], e.Port)
		}
	}
	return s, nil
}

// Ranges returns the edition that the set was made with.
func (s *Set) Ranges() *Ranges { return s.ranges }

// Endpoints returns the operator's endpoints in the order given, without doubles. It is the set's: read only.
func (s *Set) Endpoints() []Endpoint { return s.endpoints }

// Name says whether host, with the port that is connected to, is DynamoDB's by its name (ByName, whatever the port) or by the
// operator's word (ByEndpoint). host may be as ParseName takes it; a port in it goes before the parameter, for that is what the client
// means also when it talks to a proxy. Port 0 is unknown and fits only endpoints without a port.
//
// Of an operator's name no more is known than its service: DynamoDB, or Local for localhost and names below it.
// An address is never a name, not even one inside an operator's prefix.
func (s *Set) Name(host string, port uint16) (n Name, by string, ok bool) {
	if n, ok = ParseName(host); ok {
		return n, ByName, true
	}
	if len(s.names) == 0 {
		return Name{}, "", false
	}
	host, own, ok := splitHost(host)
	if !ok {
		return Name{}, "", false
	}
	if own != 0 {
		port = own
	}
	host = lowerASCII(host)
	if !s.lists(host, func(p uint16) bool { return p == 0 || p == port }) {
		return Name{}, "", false
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, Section 6.3: always this host
		return Name{Service: Local, Kind: KindLocal}, ByEndpoint, true
	}
	return Name{Service: DynamoDB}, ByEndpoint, true
}

// lists reports whether the operator lists a host, in lower case, or a wildcard over it, with a port that fits.
func (s *Set) lists(host string, fits func(port uint16) bool) bool {
	if slices.ContainsFunc(s.names[nameKey{host, false}], fits) {
		return true
	}
	for {
		label, above, ok := strings.Cut(host, ".")
		if !ok || label == "" {
			return false
		}
		if slices.ContainsFunc(s.names[nameKey{above, true}], fits) {
			return true
		}
		host = above
	}
}

// knows reports whether a name without a port is DynamoDB's on some port.
func (s *Set) knows(name string) bool {
	if _, ok := ParseName(name); ok {
		return true
	}
	return len(s.names) != 0 && s.lists(lowerASCII(name), func(uint16) bool { return true })
}

// AddrAllowed reports whether an operator's prefix holds the address, with its port or with any. Port 0 is unknown, as in a DNS answer,
// and fits all: this only quiets.
func (s *Set) AddrAllowed(addr netip.AddrPort) bool {
	if len(s.addresses) == 0 {
		return false
	}
	a := addr.Addr().Unmap().WithZone("")
	for i := range s.addresses {
		if e := &s.addresses[i]; (e.Port == 0 || addr.Port() == 0 || e.Port == addr.Port()) && e.Prefix.Contains(a) {
			return true
		}
	}
	return false
}

// Place is where an address lies, as seen by someone who expects DynamoDB there.
type Place uint8

// The places. An address has the first that fits, in this order: AtDynamoDB, AtAllowed, AtAWS, AtLoopback, AtPrivate, Elsewhere.
const (
	// Elsewhere is any other address: where no DynamoDB name should lead.
	Elsewhere Place = iota
	// AtDynamoDB is inside AWS's DYNAMODB prefixes.
	AtDynamoDB
	// AtAllowed is inside a prefix of the operator's.
	AtAllowed
	// AtAWS is inside another prefix of AWS's. All of DynamoDB's IPv6 addresses are such, and so are customers' machines in EC2.
	AtAWS
	// AtLoopback is this host: 127.0.0.0/8, ::1, and 0.0.0.0 and ::, which Linux connects to itself.
	AtLoopback
	// AtPrivate is an address of some private network: RFC 1918, fc00::/7 (RFC 4193), link-local, and 100.64.0.0/10 (RFC 6598).
	// Interface endpoints and DAX live there, and so may anybody.
	AtPrivate
)

// String is the word used in evidence.
func (p Place) String() string {
	switch p {
	case AtDynamoDB:
		return "dynamodb"
	case AtAllowed:
		return "allowed"
	case AtAWS:
		return "aws"
	case AtLoopback:
		return "loopback"
	case AtPrivate:
		return "private"
	}
	return "elsewhere"
}

// sharedSpace is RFC 6598's, which netip.Addr.IsPrivate leaves out; VPCs and Kubernetes on AWS use it for pods.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// Classify says where an address lies.
func (s *Set) Classify(addr netip.AddrPort) Place {
	a := addr.Addr().Unmap()
	if !a.IsValid() {
		return Elsewhere
	}
	ip := flow.IPFrom(a)
	switch {
	case s.ranges.IsDynamoDB(ip):
		return AtDynamoDB
	case s.AddrAllowed(addr):
		return AtAllowed
	case s.ranges.IsAWS(ip):
		return AtAWS
	case a.IsLoopback() || a.IsUnspecified():
		return AtLoopback
	case a.IsPrivate() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a):
		return AtPrivate
	}
	return Elsewhere
}
