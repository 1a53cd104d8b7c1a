package filter

import "fmt"

// maxNesting bounds parentheses, brackets, "not" and minus signs inside each other, and with them the parser's stack.
const maxNesting = 200

// parser is a recursive-descent parser over tokens. Its grammar is libpcap's, which is an LALR one; the two places where one token
// of lookahead is not enough are a parenthesis and a number, which may begin arithmetic or stand for themselves (see operand).
type parser struct {
	expr   string
	tokens []token
	at     int
	depth  int

	// match has the index of the closing parenthesis for each opening one, len(tokens) for one that is not closed.
	match []int
	// Arithmetic that was tried at failedFrom went wrong at failedAt: it need not be tried in a parenthesis between the two that is
	// still open at failedAt. Without that, reading deep parentheses would take depth times length.
	failedFrom, failedAt int
}

// parse returns nil for an empty expression, which matches everything.
func parse(expr string) (node, error) {
	tokens, err := tokenize(expr)
	if err != nil {
		return nil, err
	}
	p := &parser{expr: expr, tokens: tokens, match: matchParentheses(tokens)}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	n, _, err := p.expression(qualifiers{})
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, p.unexpected(t, `"and", "or" or the end`)
	}
	return n, nil
}

func matchParentheses(tokens []token) []int {
	match := make([]int, len(tokens))
	var open []int
	for i, t := range tokens {
		match[i] = len(tokens)
		switch {
		case t.isOp("("):
			open = append(open, i)
		case t.isOp(")") && len(open) > 0:
			match[open[len(open)-1]] = i
			open = open[:len(open)-1]
		}
	}
	return match
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) peekSecond() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

func (t token) isOp(op string) bool  { return t.kind == tokenOp && t.text == op }
func (t token) isKey(k keyword) bool { return t.kind == tokenKeyword && t.key == k }
func (t token) isAnd() bool          { return t.isKey(keyAnd) || t.isOp("&&") }
func (t token) isOr() bool           { return t.isKey(keyOr) || t.isOp("||") }
func (t token) isNot() bool          { return t.isKey(keyNot) || t.isOp("!") }
func (t token) isProtocol() bool     { return t.kind == tokenKeyword && t.key.isProtocol() }
func (t token) isValue() bool {
	return tokenNumber <= t.kind && t.kind <= tokenMAC || t.kind == tokenWord
}
func (t token) position() position      { return position(t.off) }
func (p *parser) skipOp(op string) bool { return p.skip(p.peek().isOp(op)) }

func (p *parser) skip(yes bool) bool {
	if yes {
		p.at++
	}
	return yes
}

func (p *parser) errorf(off int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Expr: p.expr, Offset: off, Msg: fmt.Sprintf(format, args...)}
}

// enter counts one level of nesting; the caller leaves it with p.depth--.
func (p *parser) enter(t token) error {
	if p.depth++; p.depth > maxNesting {
		return p.errorf(t.off, "nested deeper than %d levels", maxNesting)
	}
	return nil
}

// expression reads operands joined by and/or, which bind equally and to the left. q are the qualifiers to inherit; the result has
// those that a following bare value would inherit.
func (p *parser) expression(q qualifiers) (node, qualifiers, error) {
	left, q, err := p.operand(q)
	for err == nil {
		t := p.peek()
		if !t.isAnd() && !t.isOr() {
			return left, q, nil
		}
		p.next()
		var right node
		if right, q, err = p.operand(q); err == nil {
			left = &bothNode{position: t.position(), or: t.isOr(), left: left, right: right}
		}
	}
	return nil, q, err
}

// operand reads one primitive, relation, parenthesis, negation, or bare value with inherited qualifiers.
func (p *parser) operand(q qualifiers) (node, qualifiers, error) {
	t := p.peek()
	if t.isNot() {
		p.next()
		if err := p.enter(t); err != nil {
			return nil, q, err
		}
		defer func() { p.depth-- }()
		n, q, err := p.operand(q)
		return &notNode{t.position(), n}, q, err
	}

	var arithErr error
	var reached int
	if start := p.at; p.startsArithmetic() && !p.knownToFail(start) {
		n, err := p.relation()
		if err == nil {
			return n, qualifiers{}, nil
		}
		switch {
		case t.isOp("(") && (p.at <= p.match[start] || p.isNumberInParentheses(start)):
			// Something else in parentheses, or a bare number in them.
			arithErr, reached = err, p.at
		case t.kind == tokenNumber && (p.tokens[start+1].isOp("/") || !p.tokens[start+1].continuesArithmetic()):
			// A bare number, or one with a prefix length.
		default:
			return nil, q, err
		}
		p.failedFrom, p.failedAt = start, p.at
		p.at = start
	}

	n, q, err := p.plainOperand(q)
	if err != nil && arithErr != nil && reached > p.at {
		err = arithErr // whichever reading got further is the likelier wish
	}
	return n, q, err
}

func (p *parser) knownToFail(at int) bool {
	return p.tokens[at].isOp("(") && p.failedFrom <= at && at < p.failedAt && p.failedAt < p.match[at]
}

// isNumberInParentheses tells whether the parenthesis at holds a number and nothing else.
func (p *parser) isNumberInParentheses(at int) bool {
	for p.tokens[at].isOp("(") {
		at++
	}
	return p.tokens[at].kind == tokenNumber && p.tokens[at+1].isOp(")")
}

// plainOperand is operand without negation and arithmetic.
func (p *parser) plainOperand(q qualifiers) (node, qualifiers, error) {
	t := p.peek()
	switch {
	case t.isOp("("):
		p.next()
		if err := p.enter(t); err != nil {
			return nil, q, err
		}
		defer func() { p.depth-- }()
		n, _, err := p.expression(q)
		if err != nil {
			return nil, q, err
		}
		return n, q, p.closing(t)

	case t.isValue():
		if t.kind == tokenWord && !t.escaped && (!q.set || p.peekSecond().isValue()) {
			return nil, q, p.unknownPrimitive(t)
		}
		if !q.set {
			return nil, q, p.bareValue(t)
		}
		n, err := p.value(q)
		return n, q, err

	case t.kind == tokenKeyword:
		return p.primitive()
	}
	return nil, q, p.unexpected(t, "a primitive such as host, port or tcp")
}

func (p *parser) closing(open token) error {
	if !p.skipOp(")") {
		t := p.peek()
		err := p.unexpected(t, `")"`)
		if t.kind == tokenEnd {
			err = p.errorf(open.off, "parenthesis is not closed")
		}
		return err
	}
	return nil
}

// primitive reads what begins with a keyword.
func (p *parser) primitive() (node, qualifiers, error) {
	none := qualifiers{}
	t := p.peek()
	if t.isProtocol() {
		p.next()
		if u := p.peek(); u.isKey(keyBroadcast) || u.isKey(keyMulticast) {
			p.next()
			return &castNode{t.position(), t.key, u.key == keyMulticast}, none, nil
		}
		q := qualifiers{set: true, proto: t.key}
		if more, err := p.restOfQualifiers(&q); err != nil {
			return nil, q, err
		} else if !more {
			if u := p.peek(); u.isValue() {
				return nil, q, p.missingKind(t, u)
			}
			return &protoNode{t.position(), t.key}, none, nil
		}
		n, err := p.values(q)
		return n, q, err
	}

	switch t.key {
	case keyBroadcast, keyMulticast:
		p.next()
		return &castNode{t.position(), keyNone, t.key == keyMulticast}, none, nil
	case keyLess, keyGreater:
		p.next()
		u := p.next()
		if u.kind != tokenNumber {
			return nil, none, p.unexpected(u, "a number of bytes")
		}
		return &lengthNode{t.position(), t.key == keyGreater, u.num}, none, nil
	case keyVLAN, keyMPLS, keyPPPoES:
		p.next()
		n := &encapNode{position: t.position(), key: t.key}
		n.n, n.has = p.optionalNumber()
		return n, none, nil
	case keyPPPoED:
		p.next()
		return &encapNode{position: t.position(), key: t.key}, none, nil
	}

	q := qualifiers{set: true}
	if more, err := p.restOfQualifiers(&q); err != nil {
		return nil, q, err
	} else if !more {
		return nil, q, p.unexpected(t, "a primitive such as host, port or tcp")
	}
	n, err := p.values(q)
	return n, q, err
}
