package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// address generates host and net.
func (g *generator) address(n *idNode) (condition, error) {
	net := n.qual.kind == keyNet
	switch n.id.kind {
	case tokenMAC:
		return g.etherHost(n)
	case tokenWord:
		e := g.errorf(n, "%q is not an address", n.text)
		e.Hint = noNames
		return nil, e
	case tokenIPv6:
		bits := uint32(128)
		if n.hasPrefix {
			bits = n.prefix
		}
		switch {
		case bits > 128:
			return nil, g.errorf(n, "prefix length %d is larger than 128", bits)
		case bits != 128 && !net:
			return nil, g.notNet(n)
		case n.id.ip != netip.PrefixFrom(n.id.ip, int(bits)).Masked().Addr():
			return nil, g.hostBits(n)
		}
		return g.host6(n, n.id.ip, int(bits))
	}

	addr, mask, err := g.address4(n, net)
	if err != nil {
		return nil, err
	}
	return g.host4(n, addr, mask)
}

// address4 is the address and mask of "10.0.0.5", "10.0.0.0/8", "10.0 mask 255.255", and of the short forms: missing parts of an
// address are not compared, and "net 10" is 10.0.0.0/8 while "host 10" is 0.0.0.10.
func (g *generator) address4(n *idNode, net bool) (addr, mask uint32, err error) {
	addr, mask = n.id.num, 0xffffffff
	switch {
	case n.id.kind == tokenIPv4:
		addr <<= 32 - n.id.bits
		mask <<= 32 - n.id.bits
	case net:
		for addr != 0 && addr>>24 == 0 {
			addr <<= 8
			mask <<= 8
		}
	}
	switch {
	case n.hasPrefix && n.prefix > 32:
		return 0, 0, g.errorf(n, "prefix length %d is larger than 32", n.prefix)
	case n.hasPrefix:
		mask = uint32(0xffffffff) << (32 - n.prefix)
	case n.mask != nil:
		mask = n.mask.num << (32 - n.mask.bits)
	default:
		return addr, mask, nil
	}
	switch {
	case addr&^mask != 0:
		return 0, 0, g.hostBits(n)
	case !net:
		return 0, 0, g.notNet(n)
	}
	return addr, mask, nil
}

func (g *generator) notNet(n *idNode) error {
	e := g.errorf(n, "a prefix length or mask belongs to \"net\", not to a host")
	e.Hint = fmt.Sprintf("write \"net %s\"", n.text)
	return e
}

func (g *generator) hostBits(n *idNode) error {
	e := g.errorf(n, "%q has bits set outside its mask", n.text)
	if ip := n.id.ip; n.hasPrefix && n.id.kind == tokenIPv6 {
		e.Hint = fmt.Sprintf("the network is %s", netip.PrefixFrom(ip, int(n.prefix)).Masked())
	} else if n.hasPrefix && n.id.kind == tokenIPv4 && n.id.bits == 32 {
		ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n.id.num)))
		e.Hint = fmt.Sprintf("the network is %s", netip.PrefixFrom(ip, int(n.prefix)).Masked())
	}
	return e
}

// misfit is about a protocol that has no addresses of the kind asked for.
func (g *generator) misfit(n *idNode, what string) error {
	e := g.errorf(n, "%q does not go with %s", n.qual.describe(), what)
	if n.qual.proto == keyTCP || n.qual.proto == keyUDP || n.qual.proto == keySCTP {
		e.Hint = fmt.Sprintf("write \"%s and %s %s\"", n.qual.proto, hostOrNet(n), n.text)
	}
	return e
}

func hostOrNet(n *idNode) keyword {
	if n.qual.kind == keyNet {
		return keyNet
	}
	return keyHost
}

// host4 compares IPv4 addresses: in IPv4 headers, and in ARP and RARP bodies, whose protocol addresses stand at 14 and 24 (RFC 826).
func (g *generator) host4(n *idNode, addr, mask uint32) (condition, error) {
	at := func(etherType uint32, src, dst int) (condition, error) {
		c, err := g.carries(n, etherType)
		if err != nil {
			return nil, err
		}
		return and(c, directed(n.qual.dir,
			func() condition { return g.masked(g.network()+src, 4, addr, mask) },
			func() condition { return g.masked(g.network()+dst, 4, addr, mask) })), nil
	}
	switch n.qual.proto {
	case keyIP:
		return at(typeIP, 12, 16)
	case keyARP:
		return at(typeARP, 14, 24)
	case keyRARP:
		return at(typeRARP, 14, 24)
	case keyNone:
		c, err := at(typeIP, 12, 16)
		if err != nil || g.labels > 0 {
			return c, err // no ARP under MPLS
		}
		for _, etherType := range []uint32{typeARP, typeRARP} {
			d, err := at(etherType, 14, 24)
			if err != nil {
				return nil, err
			}
			c = or(c, d)
		}
		return c, nil
	}
	return nil, g.misfit(n, "an IPv4 address")
}

// host6 compares IPv6 addresses, four bytes at a time.
func (g *generator) host6(n *idNode, ip netip.Addr, bits int) (condition, error) {
	if n.qual.proto != keyNone && n.qual.proto != keyIP6 {
		return nil, g.misfit(n, "an IPv6 address")
	}
	c, err := g.carries(n, typeIP6)
	if err != nil {
		return nil, err
	}
	raw := ip.As16()
	at := func(off int) condition {
		var c condition = conditionConst(true)
		for i := 0; i < 4 && bits > 32*i; i++ {
			mask := uint32(0xffffffff) << (32 - min(bits-32*i, 32))
			c = and(c, g.masked(g.network()+off+4*i, 4, binary.BigEndian.Uint32(raw[4*i:]), mask))
		}
		return c
	}
	return and(c, directed(n.qual.dir, func() condition { return at(8) }, func() condition { return at(24) })), nil
}

// etherHost compares Ethernet addresses.
func (g *generator) etherHost(n *idNode) (condition, error) {
	if n.qual.proto != keyEther || n.qual.kind == keyNet {
		e := g.errorf(n, "%q does not go with an Ethernet address", n.qual.describe())
		e.Hint = fmt.Sprintf("write \"ether host %s\"", n.text)
		return nil, e
	}
	if g.link.framing != framingEthernet {
		return nil, g.errorf(n, "no Ethernet addresses in %s frames", g.link.name)
	}
	return directed(n.qual.dir,
		func() condition { return g.macAt(g.base+6, n.id.mac) },
		func() condition { return g.macAt(g.base, n.id.mac) }), nil
}

// macAt compares the last four bytes first: they differ most.
func (g *generator) macAt(off int, mac [6]byte) condition {
	low := g.equal(off+2, 4, binary.BigEndian.Uint32(mac[2:]))
	return and(low, g.equal(off, 2, uint32(binary.BigEndian.Uint16(mac[:]))))
}
