package filter

import "fmt"

// protocol generates a protocol word that stands alone.
func (g *generator) protocol(n interface{ offset() int }, key keyword) (condition, error) {
	switch key {
	case keyIP:
		return g.carries(n, typeIP)
	case keyIP6:
		return g.carries(n, typeIP6)
	case keyARP:
		return g.carries(n, typeARP)
	case keyRARP:
		return g.carries(n, typeRARP)
	case keyTCP:
		return g.ipProto(n, protoTCP)
	case keyUDP:
		return g.ipProto(n, protoUDP)
	case keySCTP:
		return g.ipProto(n, protoSCTP)
	case keyPIM:
		return g.ipProto(n, protoPIM)
	case keyAH:
		return g.ipProto(n, protoAH)
	case keyESP:
		return g.ipProto(n, protoESP)
	case keyICMP:
		return g.ip4Proto(n, protoICMP)
	case keyIGMP:
		return g.ip4Proto(n, protoIGMP)
	case keyIGRP:
		return g.ip4Proto(n, protoIGRP)
	case keyVRRP:
		return g.ip4Proto(n, protoVRRP)
	case keyICMP6:
		return g.ip6Proto(n, protoICMP6)
	}
	e := g.errorf(n, "%q alone says nothing", key)
	e.Hint = "write \"ether host\", \"ether proto\", \"ether broadcast\" or \"ether[N]\" with a comparison"
	return nil, e
}

// ipProto tests the protocol of IPv4 and IPv6 packets.
func (g *generator) ipProto(n interface{ offset() int }, number uint32) (condition, error) {
	four, err := g.ip4Proto(n, number)
	if err != nil {
		return nil, err
	}
	six, err := g.ip6Proto(n, number)
	return or(four, six), err
}

func (g *generator) ip4Proto(n interface{ offset() int }, number uint32) (condition, error) {
	c, err := g.carries(n, typeIP)
	if err != nil {
		return nil, err
	}
	return and(c, g.equal(g.network()+9, 1, number)), nil
}

// ip6Proto looks at the first next header, and behind a fragment header if that is the first.
func (g *generator) ip6Proto(n interface{ offset() int }, number uint32) (condition, error) {
	c, err := g.carries(n, typeIP6)
	if err != nil {
		return nil, err
	}
	next := g.values.load(g.network()+6, 1)
	direct := g.compare(testEQ, next, number)
	fragment := and(g.compare(testEQ, next, protoFragment), g.equal(g.network()+40, 1, number))
	return and(c, or(direct, fragment)), nil
}

// protoNumber generates "proto", "ip proto", "ip6 proto" and "ether proto" with a number or name.
func (g *generator) protoNumber(n *idNode) (condition, error) {
	table := ipProtocols
	switch n.qual.proto {
	case keyNone, keyIP, keyIP6:
	case keyEther:
		table = etherProtocols
	default:
		e := g.errorf(n, "%q carries no protocol number", n.qual.proto)
		e.Hint = fmt.Sprintf("write \"proto %s\", \"ip proto %s\", \"ip6 proto %s\" or \"ether proto %s\"", n.text, n.text, n.text, n.text)
		return nil, e
	}

	number := n.id.num
	switch {
	case n.hasPrefix || n.mask != nil:
		return nil, g.errorf(n, "a protocol has no mask")
	case n.id.kind == tokenNumber:
	case n.id.kind == tokenWord:
		var ok bool
		if number, ok = table[n.id.text]; !ok {
			if reason, known := unsupported[n.id.text]; known {
				e := g.errorf(n, "protocol %q is known but not supported", n.id.text)
				e.Hint = reason
				return nil, e
			}
			e := g.errorf(n, "unknown protocol %q", n.id.text)
			if e.Hint = suggest(n.id.text, names(table)); e.Hint == "" {
				e.Hint = "only common protocols have names here: write the number"
			}
			return nil, e
		}
	default:
		return nil, g.errorf(n, "%q is not a protocol", n.text)
	}

	switch n.qual.proto {
	case keyIP:
		return g.ip4Proto(n, number)
	case keyIP6:
		return g.ip6Proto(n, number)
	case keyEther:
		return g.carries(n, number)
	}
	return g.ipProto(n, number)
}
