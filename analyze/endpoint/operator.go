package endpoint

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Endpoint is one value of --endpoint: a name, or a prefix, with or without a port. Exactly one of Name and Prefix is set.
type Endpoint struct {
	// Name is in lower case, without trailing dot. With Wildcard it is what follows "*.", and stands for every name below it, at any
	// depth, but not for itself.
	Name     string
	Wildcard bool
	// Prefix is masked and unmapped; a single address is a /32 or /128.
	Prefix netip.Prefix
	// Port is 0 for any.
	Port uint16
}

// String is the form that ParseEndpoint reads.
func (e Endpoint) String() string {
	s := e.Name
	switch {
	case e.Wildcard:
		s = "*." + s
	case e.Prefix.IsValid():
		s = e.Prefix.String()
		if e.Prefix.IsSingleIP() {
			s = e.Prefix.Addr().String()
		}
		if e.Port != 0 && e.Prefix.Addr().Is6() {
			s = "[" + s + "]"
		}
	}
	if e.Port != 0 {
		s += ":" + strconv.Itoa(int(e.Port))
	}
	return s
}

// ParseEndpoint reads NAME[:PORT], *.NAME[:PORT], IP[:PORT] or CIDR[:PORT]; IPv6 with a port stands in brackets, [2001:db8::/32]:443.
// Its errors name the flag and say what to write instead.
func ParseEndpoint(s string) (Endpoint, error) {
	fail := func(format string, args ...any) (Endpoint, error) {
		return Endpoint{}, fmt.Errorf("--endpoint %s: %s", quote(s), fmt.Sprintf(format, args...))
	}
	const forms = "use NAME[:PORT], *.NAME[:PORT] or CIDR[:PORT]"
	if s == "" {
		return fail("empty: %s", forms)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		if _, err := ParseEndpoint(host); err != nil {
			return fail("a URL is no endpoint: %s", forms)
		}
		return fail("a URL is no endpoint: leave %s:// out and write %s", scheme, quote(host))
	}

	if addr, zone, ok := strings.Cut(s, "%"); ok {
		return fail("an address has no zone here: leave %%%s out, write %s", strings.TrimSuffix(zone, "]"), quote(addr))
	}

	// Without brackets an IPv6 address or prefix has no port: the last group cannot be told from one.
	if e, ok := parsePrefix(s); ok {
		return e.checked(fail)
	}
	host, port, hasPort := s, uint16(0), false
	if inner, rest, ok := strings.Cut(s, "]"); ok && s[0] == '[' {
		host = inner[1:]
		e, ok := parsePrefix(host)
		if !ok || !e.Prefix.Addr().Is6() && !strings.Contains(host, ":") {
			return fail("no IPv6 address in the brackets: write [2001:db8::/32]:443")
		}
		if rest == "" {
			return e.checked(fail)
		}
		if rest[0] != ':' {
			return fail("%s follows the bracket: write [%s]:PORT", quote(rest), host)
		}
		if e.Port, ok = parsePort(rest[1:]); !ok {
			return fail("%s is no port: use 1 to 65535", quote(rest[1:]))
		}
		return e.checked(fail)
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, hasPort = s[:i], true
		var ok bool
		if port, ok = parsePort(s[i+1:]); !ok {
			return fail("%s is no port: use 1 to 65535", quote(s[i+1:]))
		}
		if _, ok := parsePrefix(host); ok && strings.Contains(host, ":") {
			return fail("IPv6 with a port needs brackets: write [%s]%s", host, s[i:])
		}
	}
	if e, ok := parsePrefix(host); ok {
		e.Port = port
		return e.checked(fail)
	}
	if strings.ContainsRune(host, '/') {
		return fail("%s is no prefix: write it as 10.0.0.0/8 or 2001:db8::/32", quote(host))
	}

	e := Endpoint{Name: lowerASCII(strings.TrimSuffix(host, ".")), Port: port}
	if e.Name, e.Wildcard = strings.CutPrefix(e.Name, "*."); e.Name == "*" || e.Wildcard && e.Name == "" {
		return fail("a wildcard needs a name behind it: write *.example.com")
	}
	if why := checkName(e.Name); why != "" {
		if hasPort && host == "" {
			why = "there is no name in front of the port"
		}
		return fail("%s: %s", why, forms)
	}
	return e, nil
}

// parsePrefix reads an address or a prefix as it stands, without port and brackets. The prefix may have host bits set: see checked.
func parsePrefix(s string) (Endpoint, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		if a.Zone() != "" {
			return Endpoint{}, false
		}
		return Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen())}, true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Endpoint{}, false
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return Endpoint{}, false
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return Endpoint{Prefix: p}, true
}

func (e Endpoint) checked(fail func(string, ...any) (Endpoint, error)) (Endpoint, error) {
	if m := e.Prefix.Masked(); m != e.Prefix {
		single := Endpoint{Prefix: netip.PrefixFrom(e.Prefix.Addr(), e.Prefix.Addr().BitLen()), Port: e.Port}
		return fail("has bits set behind the prefix length: write %v for the network, or %v for the one address",
			Endpoint{Prefix: m, Port: e.Port}, single)
	}
	return e, nil
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n != 0 && allDigits(s)
}

// checkName says what is wrong with a name in lower case, or "". Underscores are let in: Docker and Kubernetes names have them.
func checkName(s string) string {
	if s == "" {
		return "no name"
	}
	if len(s) > maxHost {
		return fmt.Sprintf("the name is longer than %d bytes", maxHost)
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return "the name has an empty label"
		}
		if len(label) > 63 {
			return "the name has a label of more than 63 bytes"
		}
		for i := range len(label) {
			if c := label[i]; c == '*' {
				return "a wildcard stands only at the front, as *.example.com"
			} else if !isLowerAlnum(c) && c != '-' && c != '_' {
				return "no name has the character " + strconv.QuoteRuneToASCII([]rune(label[i:])[0])
			}
		}
		last = label
	}
	if allDigits(last) {
		return "neither a name nor an address" // as 10.0.0.256: no top-level domain is a number (RFC 3696, Section 2)
	}
	return ""
}
