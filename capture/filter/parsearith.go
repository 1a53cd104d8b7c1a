package filter

// precedence of the binary operators, from libpcap's grammar.
var precedence = map[string]int{"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}

var relations = map[string]string{">": ">", "<": "<", ">=": ">=", "<=": "<=", "=": "=", "==": "=", "!=": "!="}

// startsArithmetic tells whether arithmetic may begin here. For a parenthesis or a number only reading on can tell.
func (p *parser) startsArithmetic() bool {
	t := p.peek()
	return t.kind == tokenNumber || t.isOp("(") || t.isOp("-") || t.isKey(keyLen) || t.isProtocol() && p.peekSecond().isOp("[")
}

func (t token) continuesArithmetic() bool {
	return t.kind == tokenOp && (precedence[t.text] > 0 || relations[t.text] != "")
}

// relation reads "arithmetic relop arithmetic".
func (p *parser) relation() (node, error) {
	left, err := p.arithmetic()
	if err != nil {
		return nil, err
	}
	t := p.peek()
	op, ok := relations[t.text]
	if t.kind != tokenOp || !ok {
		e := p.unexpected(t, "a comparison")
		e.Hint = "arithmetic needs a comparison, such as: tcp[tcpflags] & tcp-syn != 0"
		return nil, e
	}
	p.next()
	right, err := p.arithmetic()
	if err != nil {
		return nil, err
	}
	return &relationNode{t.position(), op, left, right}, nil
}

// chain is what stands between two parentheses or relations: used to refuse mixes whose meaning differs between C and libpcap.
type chain struct {
	operators int
	odd       token // the first % or ^
	onlyXor   bool
}

// arithmetic reads one expression.
//
// libpcap's grammar gives % and ^ no precedence, so that "7 % 4 * 2" is 7 % (4 * 2) to tcpdump and 6 in C. An expression where
// that matters is refused: parentheses make it mean the same to everybody.
func (p *parser) arithmetic() (arith, error) {
	c := chain{onlyXor: true}
	a, err := p.binary(0, &c)
	if err == nil && c.odd.text != "" && c.operators > 1 && !c.onlyXor {
		e := p.errorf(c.odd.off, "%q together with other operators is ambiguous", c.odd.text)
		e.Hint = "write parentheses around each step"
		return nil, e
	}
	return a, err
}

// binary reads operators that bind tighter than floor.
func (p *parser) binary(floor int, c *chain) (arith, error) {
	left, err := p.unary(c)
	for err == nil {
		t := p.peek()
		prec := precedence[t.text]
		if t.kind != tokenOp || prec <= floor {
			return left, nil
		}
		p.next()
		c.operators++
		if t.text == "%" || t.text == "^" {
			if c.odd.text == "" {
				c.odd = t
			}
		}
		c.onlyXor = c.onlyXor && t.text == "^"
		var right arith
		if right, err = p.binary(prec, c); err == nil {
			left = &binaryArith{t.position(), t.text, left, right}
		}
	}
	return nil, err
}

func (p *parser) unary(c *chain) (arith, error) {
	t := p.peek()
	switch {
	case p.skip(t.kind == tokenNumber):
		return &numberArith{t.position(), t.num}, nil
	case p.skip(t.isKey(keyLen)):
		return &lenArith{t.position()}, nil
	case t.isProtocol() && p.peekSecond().isOp("["):
		p.next()
		return p.index(t)
	case p.skip(t.isOp("-") || t.isOp("(")):
		if err := p.enter(t); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if t.text == "-" {
			c.operators++
			c.onlyXor = false
			a, err := p.unary(c)
			return &negArith{t.position(), a}, err
		}
		a, err := p.arithmetic()
		if err != nil {
			return nil, err
		}
		return a, p.closing(t)
	case t.kind == tokenWord:
		return nil, p.unknownOperand(t)
	}
	return nil, p.unexpected(t, "a number, len, or a byte of a header such as tcp[13]")
}

// index reads [at] or [at:size] after a protocol.
func (p *parser) index(proto token) (arith, error) {
	open := p.next()
	if err := p.enter(open); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	at, err := p.arithmetic()
	if err != nil {
		return nil, err
	}
	size := uint8(1)
	if p.skipOp(":") {
		t := p.next()
		if t.kind != tokenNumber {
			return nil, p.unexpected(t, "a size of 1, 2 or 4 bytes")
		}
		if t.num != 1 && t.num != 2 && t.num != 4 {
			return nil, p.errorf(t.off, "size is 1, 2 or 4 bytes, not %d", t.num)
		}
		size = uint8(t.num)
	}
	if !p.skipOp("]") {
		t := p.peek()
		if t.kind == tokenEnd {
			return nil, p.errorf(open.off, "bracket is not closed")
		}
		return nil, p.unexpected(t, `"]"`)
	}
	return &indexArith{proto.position(), proto.key, at, size}, nil
}
