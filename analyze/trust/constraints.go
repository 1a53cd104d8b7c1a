package trust

import (
	"net"
	"strings"
)

// nameConstraints limit the names below a CA (RFC 5280, Section 4.2.1.10).
type nameConstraints struct {
	permitted, excluded subtrees
}

type subtrees struct {
	dns []string
	ips []net.IPNet
	dns0, ip0,
	dir0 bool // at least one subtree of that kind is there
	directories []string // canonical
	// others: email or URI subtrees, which are not understood; unknown: any further kind in a critical extension.
	others, unknown bool
}

func readNameConstraints(value element, critical bool) (*nameConstraints, bool) {
	outer := value.inside()
	seq, err := outer.next(tagSequence, "NameConstraints")
	if err != nil {
		return nil, false
	}
	nc := &nameConstraints{}
	for in := seq.inside(); !in.empty(); {
		list, err := in.any("GeneralSubtrees")
		if err != nil {
			return nil, false
		}
		ok := false
		switch list.tag {
		case tagContext0:
			ok = nc.permitted.read(list, critical)
		case 0xa1:
			ok = nc.excluded.read(list, critical)
		}
		if !ok {
			return nil, false
		}
	}
	return nc, true
}

func (s *subtrees) read(list element, critical bool) bool {
	count := 0
	for in := list.inside(); !in.empty(); {
		tree, err := in.next(tagSequence, "GeneralSubtree")
		if count++; err != nil || count > maxConstraints {
			return false
		}
		r := tree.inside()
		base, err := r.any("base")
		if err != nil || !r.empty() { // minimum must be its default, maximum absent
			return false
		}
		switch base.tag {
		case generalDNS:
			s.dns0 = true
			s.dns = append(s.dns, strings.ToLower(string(base.content)))
		case generalIP:
			n := len(base.content)
			if n != 2*net.IPv4len && n != 2*net.IPv6len {
				return false
			}
			mask := net.IPMask(base.content[n/2:])
			if ones, bits := mask.Size(); ones == 0 && bits == 0 { // has holes
				return false
			}
			s.ip0 = true
			s.ips = append(s.ips, net.IPNet{IP: net.IP(base.content[:n/2]), Mask: mask})
		case generalDirectory:
			inner := base.inside()
			name, err := inner.next(tagSequence, "directoryName")
			if err != nil {
				return false
			}
			s.dir0 = true
			s.directories = append(s.directories, canonicalName(name.raw))
		case generalEmail, generalURI:
			s.others = true
		default:
			s.unknown = s.unknown || critical
		}
	}
	return true
}

// allow reports whether a certificate below the CA may bear the names that it bears.
func (nc *nameConstraints) allow(p *Parsed, subject string) bool {
	if nc.permitted.unknown || nc.excluded.unknown {
		return false
	}
	x := &p.Extensions
	if x.OtherNames && (nc.permitted.others || nc.excluded.others) || x.NamesDropped > 0 {
		return false // cannot tell, and a limit that is not understood is not lifted
	}
	for _, name := range x.DNSNames {
		name = strings.ToLower(name)
		if nc.permitted.dns0 && !anyDNS(nc.permitted.dns, name, false) || anyDNS(nc.excluded.dns, name, true) {
			return false
		}
	}
	for _, ip := range x.IPAddresses {
		if nc.permitted.ip0 && !anyIP(nc.permitted.ips, ip) || anyIP(nc.excluded.ips, ip) {
			return false
		}
	}
	if subject != "" {
		if nc.permitted.dir0 && !anyDirectory(nc.permitted.directories, subject) || anyDirectory(nc.excluded.directories, subject) {
			return false
		}
	}
	return true
}

// anyDNS: a name lies in a subtree if it is the subtree's name with zero or more labels put before it. A leading period, which the RFC
// gives no meaning here, asks for at least one. wide: a wildcard lies in a subtree if one of the names that it stands for does.
func anyDNS(trees []string, name string, wide bool) bool {
	for _, tree := range trees {
		switch {
		case tree == "":
			return true
		case strings.HasPrefix(tree, "."):
			if strings.HasSuffix(name, tree) && len(name) > len(tree) {
				return true
			}
		case name == tree || strings.HasSuffix(name, "."+tree):
			return true
		}
		if parent, ok := strings.CutPrefix(name, "*."); wide && ok {
			if bare := strings.TrimPrefix(tree, "."); bare == parent || strings.HasSuffix(bare, "."+parent) {
				return true
			}
		}
	}
	return false
}

func anyIP(trees []net.IPNet, ip net.IP) bool {
	for _, tree := range trees {
		if len(tree.IP) == len(ip) && tree.Contains(ip) {
			return true
		}
	}
	return false
}

func anyDirectory(trees []string, subject string) bool {
	for _, tree := range trees {
		if strings.HasPrefix(subject, tree) {
			return true
		}
	}
	return false
}

// cannotIssue says why a certificate may not issue others that serve TLS, "" if it may. A root that the operator or Amazon put there may be of
// version 1 or 2, which cannot state that it is a CA; an intermediate may not (RFC 5280, Section 6.1.4 (k)).
func (c *candidate) cannotIssue(root bool) string {
	x := &c.Extensions
	switch {
	case x.refuse != "":
		return "has " + x.refuse
	case x.BasicConstraints && !x.CA, !x.BasicConstraints && (c.Version >= 3 || !root):
		return "is no CA"
	case x.KeyUsage && !x.CertSign:
		return "may not sign certificates (key usage)"
	case !x.mayServe():
		return "may not issue for TLS servers (extended key usage)"
	}
	return ""
}

// oversteps says which limit of the CA the certificates below it, leaf first, do not keep, "" if they keep all. CAs that are self-issued,
// as in a key change, do not count for the path length (RFC 5280, Section 4.2.1.9).
func (c *candidate) oversteps(below []*candidate) string {
	x := &c.Extensions
	cas := 0
	for _, ca := range below[1:] {
		if ca.issuer != ca.subject {
			cas++
		}
	}
	if x.BasicConstraints && x.PathLen >= 0 && cas > x.PathLen {
		return "may not have that many CAs below it (path length)"
	}
	if x.constraints == nil {
		return ""
	}
	for _, other := range below {
		if !x.constraints.allow(other.Parsed, other.subject) {
			return "may not issue for these names (name constraints)"
		}
	}
	return ""
}
