package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// DefaultMinVersion is the lowest version that is no finding, unless the operator says otherwise: AWS API endpoints require TLS 1.2.
const DefaultMinVersion = session.TLS12

// Policy is what the operator demands or allows. The zero value is the default policy.
type Policy struct {
	// MinVersion is the lowest negotiated version that is no finding (--min-version); 0 means DefaultMinVersion.
	MinVersion session.Version
	// AllowProxies are proxies that CONNECT requests may go to (--allow-proxy), each HOST:PORT, where HOST is a name, an address, or a
	// CIDR prefix; IPv6 in brackets, as in [2001:db8::/32]:3128. A name is compared with session.Proxy.Names.
	AllowProxies []string
	// Regions are the regions that clients may talk to (--allow-region), such as eu-central-1; empty allows all.
	Regions []string
	// EndpointKinds are the kinds of endpoint that clients may use (--allow-kind): public, fips, dual-stack, account, interface; empty
	// allows all. There is no word for gateway endpoints: they bear public names and addresses, and a host cannot see them.
	EndpointKinds []string
	// OwnIssuers is set when the operator named issuers (--allow-ca, --pin). It ends the leniency of unexpected-issuer in partitions
	// whose CA AWS does not publish.
	OwnIssuers bool
}

func (p *Policy) minVersion() session.Version {
	if p.MinVersion == 0 {
		return DefaultMinVersion
	}
	return p.MinVersion
}

// endpointKinds are the words that EndpointKinds may hold, which are also session.Endpoint.Kind's but for "local".
var endpointKinds = []string{"public", "fips", "dual-stack", "account", "interface"}

// regionForm is how AWS writes a region: us-east-1, us-gov-west-1, us-isob-east-1, eusc-de-east-1. A form, not a list: regions are added.
var regionForm = regexp.MustCompile(`^[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$`)

// Validate checks the policy's values. The error joins all that is wrong; each part names the flag and says what to write instead.
func (p *Policy) Validate() error {
	var errs []error
	if v := p.MinVersion; v != 0 && (v < session.TLS10 || v > session.TLS13) {
		errs = append(errs, fmt.Errorf("--min-version %s: use 1.0, 1.1, 1.2 or 1.3 (the default is 1.2)", v))
	}
	for _, s := range p.AllowProxies {
		if _, err := parseProxy(s); err != nil {
			errs = append(errs, fmt.Errorf("--allow-proxy %s: %w", s, err))
		}
	}
	for _, s := range p.Regions {
		if err := checkRegion(s); err != nil {
			errs = append(errs, fmt.Errorf("--allow-region %s: %w", s, err))
		}
	}
	for _, s := range p.EndpointKinds {
		switch {
		case slices.Contains(endpointKinds, s):
		case s == "gateway":
			errs = append(errs, errors.New("--allow-kind gateway: a gateway endpoint has public names and addresses, so no host can tell it "+
				"from the internet path; allow public and enforce the gateway with an aws:SourceVpce condition in IAM"))
		default:
			errs = append(errs, fmt.Errorf("--allow-kind %s: use %s", s, strings.Join(endpointKinds, ", ")))
		}
	}
	return errors.Join(errs...)
}

func checkRegion(s string) error {
	switch lower := strings.ToLower(s); {
	case regionForm.MatchString(s):
		return nil
	case lower != s && regionForm.MatchString(lower):
		return fmt.Errorf("regions are lower case: use %s", lower)
	case len(s) > 1 && regionForm.MatchString(s[:len(s)-1]):
		return fmt.Errorf("that is an availability zone: use its region, %s", s[:len(s)-1])
	}
	return errors.New("not the form of a region: use one like eu-central-1")
}

// allowedProxy is one entry of AllowProxies, parsed. Exactly one of name and prefix is set.
type allowedProxy struct {
	name   string
	prefix netip.Prefix
	port   uint16
}

// maxProxy is a host name's 253 bytes with a trailing dot, and a port.
const maxProxy = 253 + 1 + len(":65535")

func parseProxy(s string) (allowedProxy, error) {
	var p allowedProxy
	if len(s) > maxProxy {
		return p, errors.New("too long: use HOST:PORT")
	}
	if strings.Contains(s, "://") {
		_, rest, _ := strings.Cut(s, "://")
		return p, fmt.Errorf("use HOST:PORT without a scheme, as %s", strings.TrimSuffix(rest, "/"))
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return p, fmt.Errorf("the port is missing: use [%s]:3128", s)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return p, fmt.Errorf("the port is missing: use %s:3128", s)
	}
	host, port := s[:i], s[i+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return p, fmt.Errorf("%q is no port: use a number from 1 to 65535", port)
	}
	p.port = uint16(n)
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if bracketed {
		host = host[1 : len(host)-1]
	}
	if strings.Contains(host, "/") {
		prefix, err := netip.ParsePrefix(host)
		if err != nil {
			return p, fmt.Errorf("%q is no prefix: use one like 10.0.8.0/24:%d", host, n)
		}
		if prefix.Addr().Is6() && !bracketed {
			return p, fmt.Errorf("put the IPv6 prefix in brackets: use [%s]:%d", host, n)
		}
		if prefix.Masked() != prefix {
			return p, fmt.Errorf("bits are set beyond the prefix: use %s", bracketIPv6(prefix.Masked(), p.port))
		}
		p.prefix = prefix
		return p, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return p, errors.New("an address with a zone cannot be compared with captured packets: leave the zone out")
		}
		a = a.Unmap()
		if a.Is6() && !bracketed {
			return p, fmt.Errorf("put the IPv6 address in brackets: use [%s]:%d", host, n)
		}
		p.prefix = netip.PrefixFrom(a, a.BitLen())
		return p, nil
	}
	if bracketed || !hostForm.MatchString(host) {
		return p, fmt.Errorf("%q is neither a host name, an address nor a prefix: use one like proxy.example.com:%d", host, n)
	}
	p.name = strings.ToLower(strings.TrimSuffix(host, "."))
	return p, nil
}

// hostForm is a host name of letters, digits, dashes and underscores (RFC 1123, Section 2.1, and what people really use).
var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?$`)

func bracketIPv6(p netip.Prefix, port uint16) string {
	if p.Addr().Is6() {
		return fmt.Sprintf("[%s]:%d", p, port)
	}
	return fmt.Sprintf("%s:%d", p, port)
}

// proxyAllowed compares a proxy with the list. The answer is Unknown when only an entry by name could match and nothing tells the
// proxy's name. Entries that do not parse match nothing; Validate reports them.
func (p *Policy) proxyAllowed(at netip.AddrPort, names []string) session.Tri {
	answer := session.No
	for _, s := range p.AllowProxies {
		e, err := parseProxy(s)
		switch {
		case err != nil || e.port != at.Port():
		case e.name == "":
			if e.prefix.Contains(at.Addr().Unmap()) {
				return session.Yes
			}
		case slices.Contains(names, e.name):
			return session.Yes
		case len(names) == 0:
			answer = session.Unknown
		}
	}
	return answer
}
