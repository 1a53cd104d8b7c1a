package filter

import "fmt"

// maxTests bounds the tests of one expression before anything is made smaller.
const maxTests = 1 << 16

// generator turns a syntax tree into a condition for one link type. It walks the tree in the order in which it was written, since
// vlan, mpls and pppoes move the offsets for what stands to their right, whatever and, or, not and parentheses say.
type generator struct {
	expr   string
	values *valueTable
	tests  int

	link linkInfo // the layer whose protocol field is tested; PPP inside PPPoE after "pppoes"
	// base is where link's header begins: what ether[0] reads.
	base int
	// typeOff is the protocol field, payload the first byte behind the link header, with VLAN tags counted in.
	typeOff, payload int
	// labels is the length of the MPLS labels between payload and the network header, in bytes.
	labels int
}

func newGenerator(expr string, link linkInfo) *generator {
	return &generator{expr: expr, values: newValueTable(), link: link, typeOff: link.typeOff, payload: link.payload}
}

func (g *generator) errorf(n interface{ offset() int }, format string, args ...any) *SyntaxError {
	return &SyntaxError{Expr: g.expr, Offset: n.offset(), Msg: fmt.Sprintf(format, args...)}
}

// network is the offset of the network header.
func (g *generator) network() int { return g.payload + g.labels }

func (g *generator) condition(n node) (condition, error) {
	switch n := n.(type) {
	case *bothNode:
		left, err := g.condition(n.left)
		if err != nil {
			return nil, err
		}
		right, err := g.condition(n.right)
		if err != nil {
			return nil, err
		}
		if n.or {
			return or(left, right), nil
		}
		return and(left, right), nil
	case *notNode:
		c, err := g.condition(n.of)
		return not(c), err
	}

	c, err := g.primitive(n)
	if err == nil && g.tests > maxTests {
		return nil, g.errorf(n, "the expression needs more than %d tests", maxTests)
	}
	return c, err
}

func (g *generator) primitive(n node) (condition, error) {
	switch n := n.(type) {
	case *idNode:
		return g.id(n)
	case *protoNode:
		return g.protocol(n, n.proto)
	case *castNode:
		return g.cast(n)
	case *lengthNode:
		if n.greater {
			return g.compare(testGE, g.values.length(), n.n), nil
		}
		return not(g.compare(testGT, g.values.length(), n.n)), nil
	case *encapNode:
		return g.encapsulation(n)
	case *relationNode:
		return g.relation(n)
	}
	panic(fmt.Sprintf("filter: no code for %T", n)) // a node type without a case here: every test of it would fail
}

// compare is a test of a value against a constant.
func (g *generator) compare(op testOp, v valueID, k uint32) condition {
	g.tests++
	return g.values.compare(op, v, k)
}

// equal tests size bytes at off.
func (g *generator) equal(off int, size uint8, k uint32) condition {
	return g.compare(testEQ, g.values.load(off, size), k)
}

// masked tests the bits of mask in size bytes at off.
func (g *generator) masked(off int, size uint8, k, mask uint32) condition {
	v := g.values.load(off, size)
	if mask != 0xffffffff {
		v = g.values.binary(aluAnd, v, g.values.constant(mask))
	}
	return g.compare(testEQ, v, k)
}

// id generates a value with its qualifiers.
func (g *generator) id(n *idNode) (condition, error) {
	switch n.qual.kind {
	case keyPort, keyPortrange:
		return g.ports(n)
	case keyProto:
		return g.protoNumber(n)
	}
	return g.address(n)
}

// directed applies the direction qualifier to a pair of conditions.
func directed(d direction, src, dst func() condition) condition {
	switch d {
	case dirSrc:
		return src()
	case dirDst:
		return dst()
	case dirAnd:
		s := src()
		return and(s, dst())
	}
	s := src()
	return or(s, dst())
}
