package filter

import (
	"fmt"
	"strconv"
	"strings"
)

// portRange is from low to high, both included.
type portRange struct {
	low, high uint32
	over      transport
}

// ports generates port and portrange: IPv6 first, then IPv4, as libpcap does.
func (g *generator) ports(n *idNode) (condition, error) {
	r, err := g.portsOf(n)
	if err != nil {
		return nil, err
	}
	switch n.qual.proto {
	case keyNone:
	case keyTCP, keyUDP, keySCTP:
		only := map[keyword]transport{keyTCP: overTCP, keyUDP: overUDP, keySCTP: overSCTP}[n.qual.proto]
		if r.over&only == 0 {
			return nil, g.errorf(n, "service %q is not registered for %s", n.text, n.qual.proto)
		}
		r.over = only
	default:
		e := g.errorf(n, "%q does not go with a port", n.qual.describe())
		e.Hint = fmt.Sprintf("write \"%s and port %s\"", n.qual.proto, n.text)
		return nil, e
	}

	six, err := g.ports6(n, r)
	if err != nil {
		return nil, err
	}
	four, err := g.ports4(n, r)
	if err != nil {
		return nil, err
	}
	return or(six, four), nil
}

// portsOf reads the value: a number, a service, or for portrange two of them with "-" between.
func (g *generator) portsOf(n *idNode) (portRange, error) {
	var r portRange
	switch n.id.kind {
	case tokenNumber:
		if n.hasPrefix || n.mask != nil {
			return r, g.errorf(n, "a port has no mask")
		}
		r = portRange{n.id.num, n.id.num, overAny}
	case tokenWord:
		if s, ok := services[n.id.text]; ok {
			r = portRange{s.port, s.port, s.over}
			break
		}
		low, high, isRange := g.splitRange(n.id.text)
		switch {
		case isRange && n.qual.kind == keyPortrange:
			r = portRange{low.port, high.port, low.over}
			if low.over != high.over {
				r.over = overAny
			}
			if r.low > r.high {
				r.low, r.high = r.high, r.low
			}
		case isRange:
			e := g.errorf(n, "%q is a range", n.text)
			e.Hint = fmt.Sprintf("write \"portrange %s\"", n.text)
			return r, e
		default:
			e := g.errorf(n, "unknown port %q", n.text)
			if e.Hint = suggest(n.text, names(services)); e.Hint == "" {
				e.Hint = "only common services have names here: write the number"
			}
			return r, e
		}
	default:
		return r, g.errorf(n, "%q is not a port", n.text)
	}
	if r.high > 0xffff {
		return r, g.errorf(n, "port %d is larger than 65535", r.high)
	}
	return r, nil
}

// splitRange reads LOW-HIGH, each a decimal number or a service.
func (g *generator) splitRange(s string) (low, high service, ok bool) {
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		var okLow, okHigh bool
		low, okLow = rangeEnd(s[:i])
		high, okHigh = rangeEnd(s[i+1:])
		if okLow && okHigh {
			return low, high, true
		}
	}
	return low, high, false
}

func rangeEnd(s string) (service, bool) {
	if v, ok := services[s]; ok {
		return v, true
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return service{}, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return service{uint32(n), overAny}, err == nil
}

// transportIs tests the IP protocol field at off; the order is libpcap's.
func (g *generator) transportIs(off int, over transport) condition {
	c := condition(conditionConst(false))
	for _, p := range []struct {
		over   transport
		number uint32
	}{{overSCTP, protoSCTP}, {overTCP, protoTCP}, {overUDP, protoUDP}} {
		if over&p.over != 0 {
			c = or(c, g.equal(off, 1, p.number))
		}
	}
	return c
}

// portAt tests one port field.
func (g *generator) portAt(field valueID, r portRange) condition {
	if r.low == r.high {
		return g.compare(testEQ, field, r.low)
	}
	c := g.compare(testGE, field, r.low)
	return and(c, not(g.compare(testGT, field, r.high)))
}

// ports6 looks behind the fixed header of IPv6 only: extension headers, the fragment header among them, are not followed.
func (g *generator) ports6(n *idNode, r portRange) (condition, error) {
	c, err := g.carries(n, typeIP6)
	if err != nil {
		return nil, err
	}
	const header = 40
	c = and(c, g.transportIs(g.network()+6, r.over))
	return and(c, directed(n.qual.dir,
		func() condition { return g.portAt(g.values.load(g.network()+header, 2), r) },
		func() condition { return g.portAt(g.values.load(g.network()+header+2, 2), r) })), nil
}

// ports4 looks into fragments with offset zero only: the others have no ports.
func (g *generator) ports4(n *idNode, r portRange) (condition, error) {
	c, err := g.carries(n, typeIP)
	if err != nil {
		return nil, err
	}
	c = and(and(c, g.transportIs(g.network()+9, r.over)), g.firstFragment())
	header := g.values.headerLen(g.network())
	return and(c, directed(n.qual.dir,
		func() condition { return g.portAt(g.values.loadAt(header, g.network(), 2), r) },
		func() condition { return g.portAt(g.values.loadAt(header, g.network()+2, 2), r) })), nil
}

// firstFragment tests that the fragment offset is zero (RFC 791, Section 3.1).
func (g *generator) firstFragment() condition {
	return not(g.compare(testSet, g.values.load(g.network()+6, 2), 0x1fff))
}
