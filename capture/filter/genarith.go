package filter

var aluOps = map[string]aluOp{"+": aluAdd, "-": aluSub, "*": aluMul, "/": aluDiv, "%": aluMod,
	"&": aluAnd, "|": aluOr, "^": aluXor, "<<": aluLsh, ">>": aluRsh}

// relation generates a comparison: first that the packet has every header that either side reads, then the comparison itself.
func (g *generator) relation(n *relationNode) (condition, error) {
	left, needLeft, err := g.arithmetic(n.left)
	if err != nil {
		return nil, err
	}
	right, needRight, err := g.arithmetic(n.right)
	if err != nil {
		return nil, err
	}

	// With a constant on the left the sides change places, so that the machine needs no second register. Nothing is read twice or
	// in another order by that.
	op := n.op
	if _, ok := g.values.isConst(left); ok {
		left, right = right, left
		op = map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}[op]
	}
	jump := map[string]testOp{"=": testEQ, "!=": testEQ, ">": testGT, "<=": testGT, ">=": testGE, "<": testGE}[op]
	var c condition
	if k, ok := g.values.isConst(right); ok {
		c = g.compare(jump, left, k)
	} else {
		g.tests++
		c = &conditionTest{test{op: jump, value: left, x: right}}
	}
	if op == "!=" || op == "<=" || op == "<" {
		c = not(c)
	}
	return and(and(needLeft, needRight), c), nil
}

// arithmetic returns a value and the condition under which it may be read, nil for none.
func (g *generator) arithmetic(a arith) (valueID, condition, error) {
	switch a := a.(type) {
	case *numberArith:
		return g.values.constant(a.n), nil, nil
	case *lenArith:
		return g.values.length(), nil, nil
	case *negArith:
		v, need, err := g.arithmetic(a.of)
		if err != nil {
			return noValue, nil, err
		}
		// Minus one times v: one instruction, and one that every machine has.
		return g.values.binary(aluMul, v, g.values.constant(0xffffffff)), need, nil
	case *binaryArith:
		return g.binaryArith(a)
	}
	return g.index(a.(*indexArith))
}

func (g *generator) binaryArith(a *binaryArith) (valueID, condition, error) {
	left, needLeft, err := g.arithmetic(a.left)
	if err != nil {
		return noValue, nil, err
	}
	right, needRight, err := g.arithmetic(a.right)
	if err != nil {
		return noValue, nil, err
	}
	op := aluOps[a.op]
	if k, ok := g.values.isConst(right); ok {
		switch {
		case k == 0 && (op == aluDiv || op == aluMod):
			return noValue, nil, g.errorf(a, "division by zero")
		case k > 31 && (op == aluLsh || op == aluRsh):
			return noValue, nil, g.errorf(a, "shift by more than 31 bits")
		}
	}
	return g.values.binary(op, left, right), and(needLeft, needRight), nil
}

// index generates proto[at:size].
func (g *generator) index(a *indexArith) (valueID, condition, error) {
	at, need, err := g.arithmetic(a.at)
	if err != nil {
		return noValue, nil, err
	}
	var (
		off    int                // where index 0 is
		header condition          // that the header is there
		behind = valueID(noValue) // a variable length to add
	)
	switch a.proto {
	case keyEther:
		off = g.base
	case keyIP, keyIP6, keyARP, keyRARP:
		off = g.network()
		header, err = g.protocol(a, a.proto)
	case keyICMP6:
		// The first next header only: extension headers are not followed.
		off = g.network() + 40
		if header, err = g.carries(a, typeIP6); err == nil {
			header = and(header, g.equal(g.network()+6, 1, protoICMP6))
		}
	case keyAH, keyESP:
		return noValue, nil, g.errorf(a, "bytes of %q cannot be read", a.proto)
	default:
		// Transport headers are read behind IPv4 only, in fragments with offset zero.
		off = g.network()
		behind = g.values.headerLen(g.network())
		var four, proto condition
		if four, err = g.carries(a, typeIP); err == nil {
			proto, err = g.protocol(a, a.proto)
		}
		header = and(and(four, proto), g.firstFragment())
	}
	if err != nil {
		return noValue, nil, err
	}
	need = and(need, header)

	if k, ok := g.values.isConst(at); ok {
		if k > maxOffset {
			return noValue, nil, g.errorf(a.at, "offset %d is outside of any packet", int32(k))
		}
		if behind == noValue {
			return g.values.load(off+int(k), a.size), need, nil
		}
		return g.values.loadAt(behind, off+int(k), a.size), need, nil
	}
	if behind != noValue {
		at = g.values.binary(aluAdd, at, behind)
	}
	return g.values.loadAt(at, off, a.size), need, nil
}
