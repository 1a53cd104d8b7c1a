package filter

// The link layer: which protocol does a frame carry, and how do tags and labels move what follows.

// maxLength8023 is the largest value of Ethernet's type field that is a length (IEEE 802.3): above it the field is an EtherType.
const maxLength8023 = 1500

// sllP8022 is the protocol field of a Linux cooked frame that holds an 802.3 frame with an LLC header (LINUX_SLL_P_802_2).
const sllP8022 = 0x0004

// carries tests that the payload is of an EtherType, or, for 1500 and below, that its LLC header has that SAP.
func (g *generator) carries(n interface{ offset() int }, etherType uint32) (condition, error) {
	if g.labels > 0 {
		return g.carriesUnderMPLS(n, etherType)
	}
	switch g.link.framing {
	case framingEthernet, framingSLL:
		return g.carriesTyped(n, etherType)
	case framingSLL2:
		return g.equal(g.typeOff, 2, etherType), nil
	case framingPPP:
		return g.equal(g.typeOff, 2, pppProtocol(etherType)), nil
	case framingRaw:
		switch etherType {
		case typeIP:
			return g.masked(g.payload, 1, 0x40, 0xf0), nil
		case typeIP6:
			return g.masked(g.payload, 1, 0x60, 0xf0), nil
		}
	case framingNull, framingLoop:
		return g.carriesFamily(etherType), nil
	case framingIPv4:
		return conditionConst(etherType == typeIP), nil
	case framingIPv6:
		return conditionConst(etherType == typeIP6), nil
	}
	return conditionConst(false), nil
}

// carriesTyped is for Ethernet and Linux cooked frames, whose protocol field is an EtherType or says that an LLC header follows.
func (g *generator) carriesTyped(n interface{ offset() int }, etherType uint32) (condition, error) {
	const (
		sapIP, sapIPX, sapNetBEUI, sapISO = 0x06, 0xe0, 0xf0, 0xfe
	)
	switch etherType {
	case sapIPX, typeAppleTalk, typeAppARP:
		e := g.errorf(n, "protocol %#x is known but not supported", etherType)
		e.Hint = ipReplaced
		return nil, e
	}
	if etherType > maxLength8023 {
		return g.equal(g.typeOff, 2, etherType), nil
	}
	var llc condition
	if g.link.framing == framingSLL {
		llc = g.equal(g.typeOff, 2, sllP8022)
	} else {
		llc = not(g.compare(testGT, g.values.load(g.typeOff, 2), maxLength8023))
	}
	switch etherType {
	case sapIP, sapNetBEUI, sapISO: // destination and source SAP are the same
		return and(llc, g.equal(g.payload, 2, etherType<<8|etherType)), nil
	}
	return and(llc, g.equal(g.payload, 1, etherType)), nil
}

// pppProtocol is the PPP protocol number (RFC 1661, Section 2; IANA "PPP DLL Protocol Numbers") of an EtherType or SAP; what has none
// stands for itself.
func pppProtocol(etherType uint32) uint32 {
	switch etherType {
	case typeIP:
		return 0x0021
	case typeIP6:
		return 0x0057
	case 0x6003: // DECnet
		return 0x0027
	case typeAppleTalk:
		return 0x0029
	case 0x0600: // XNS
		return 0x0025
	case 0xfe: // OSI
		return 0x0023
	case 0x42: // spanning tree
		return 0x0031
	case 0xe0: // IPX
		return 0x002b
	}
	return etherType
}

// carriesFamily tests the address family of BSD loopback. IPv6's differs: 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS, 10 on
// Linux; a DLT_NULL field is in the byte order of the host that captured. libpcap asks for the family and order of the host that
// reads, which misses files from elsewhere; none of these numbers means anything else, so all of them count.
func (g *generator) carriesFamily(etherType uint32) condition {
	families := []uint32{2}
	switch etherType {
	case typeIP:
	case typeIP6:
		families = []uint32{10, 24, 28, 30}
	default:
		return conditionConst(false)
	}
	c := condition(conditionConst(false))
	for _, f := range families {
		if g.link.framing == framingNull {
			c = or(c, g.equal(g.typeOff, 4, f<<24))
		}
		c = or(c, g.equal(g.typeOff, 4, f))
	}
	return c
}

// carriesUnderMPLS tests what the last label names implicitly: it is the bottom of the stack, and the IP version is in the first four
// bits (RFC 4928, Section 1 calls this what it is, a guess).
func (g *generator) carriesUnderMPLS(n interface{ offset() int }, etherType uint32) (condition, error) {
	bottom := func() condition { return g.masked(g.network()-2, 1, 1, 1) }
	switch etherType {
	case typeIP:
		return and(bottom(), g.masked(g.network(), 1, 0x40, 0xf0)), nil
	case typeIP6:
		return and(bottom(), g.masked(g.network(), 1, 0x60, 0xf0)), nil
	}
	return nil, g.errorf(n, "after \"mpls\" only IPv4 and IPv6 can be told apart")
}

// encapsulation tests for a tag, label or PPPoE header, and moves the offsets behind it.
func (g *generator) encapsulation(n *encapNode) (condition, error) {
	switch n.key {
	case keyVLAN:
		return g.vlan(n)
	case keyMPLS:
		return g.mpls(n)
	case keyPPPoES:
		return g.pppoe(n)
	}
	return g.carries(n, typePPPoED)
}

// vlan is IEEE 802.1Q: the tag's EtherType stands in the place of the frame's, two bytes of tag follow, then the frame's EtherType.
func (g *generator) vlan(n *encapNode) (condition, error) {
	switch {
	case g.labels > 0:
		return nil, g.errorf(n, "a VLAN tag cannot follow an MPLS label")
	case g.link.framing != framingEthernet:
		e := g.errorf(n, "no VLAN tags in %s frames", g.link.name)
		return nil, e
	case n.n > 0xfff:
		return nil, g.errorf(n, "VLAN id %d is larger than 4095", n.n)
	}
	c := or(or(g.equal(g.typeOff, 2, typeVLAN), g.equal(g.typeOff, 2, typeQinQ)), g.equal(g.typeOff, 2, typeQinQOld))
	if n.has {
		c = and(c, g.masked(g.payload, 2, n.n, 0xfff))
	}
	g.typeOff += 4
	g.payload += 4
	return c, nil
}

// mpls is RFC 3032: four bytes a label, of which the upper 20 bits are the label and bit 8 says that no other follows.
func (g *generator) mpls(n *encapNode) (c condition, err error) {
	switch {
	case n.n > 0xfffff:
		return nil, g.errorf(n, "MPLS label %d is larger than 1048575", n.n)
	case g.labels > 0:
		c = g.masked(g.network()-2, 1, 0, 1)
	case g.link.framing == framingEthernet:
		c = g.equal(g.typeOff, 2, typeMPLS)
	case g.link.framing == framingPPP:
		c = g.equal(g.typeOff, 2, 0x0281)
	default:
		return nil, g.errorf(n, "no MPLS labels in %s frames", g.link.name)
	}
	if n.has {
		c = and(c, g.masked(g.network(), 4, n.n<<12, 0xfffff000))
	}
	g.labels += 4
	return c, nil
}

// pppoe is RFC 2516: six bytes with the session in the third and fourth, then a PPP protocol number.
func (g *generator) pppoe(n *encapNode) (condition, error) {
	if n.n > 0xffff {
		return nil, g.errorf(n, "PPPoE session %d is larger than 65535", n.n)
	}
	c, err := g.carries(n, typePPPoES)
	if err != nil {
		return nil, err
	}
	if n.has {
		c = and(c, g.masked(g.network(), 4, n.n, 0xffff))
	}
	g.base = g.network() + 6
	g.link = linkPPP
	g.typeOff, g.payload = g.base, g.base+2
	return c, nil
}

// cast is broadcast and multicast.
func (g *generator) cast(n *castNode) (condition, error) {
	word := "broadcast"
	if n.multicast {
		word = "multicast"
	}
	switch n.proto {
	case keyNone, keyEther:
		if g.link.framing != framingEthernet {
			return nil, g.errorf(n, "no %s addresses in %s frames", word, g.link.name)
		}
		if n.multicast {
			return g.compare(testSet, g.values.load(g.base, 1), 1), nil
		}
		return g.macAt(g.base, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), nil
	case keyIP:
		c, err := g.carries(n, typeIP)
		if err != nil {
			return nil, err
		}
		dst := g.values.load(g.network()+16, 4)
		if n.multicast {
			return and(c, g.compare(testGE, g.values.load(g.network()+16, 1), 224)), nil
		}
		// With no interface there is no netmask: only the two addresses that are broadcast everywhere count.
		return and(c, or(g.compare(testEQ, dst, 0), g.compare(testEQ, dst, 0xffffffff))), nil
	case keyIP6:
		if n.multicast {
			c, err := g.carries(n, typeIP6)
			return and(c, g.equal(g.network()+24, 1, 0xff)), err
		}
	}
	return nil, g.errorf(n, "%q has no %s of its own: only ether, ip and ip6 multicast", n.proto, word)
}
