package filter

import "strings"

// optionalNumber reads N or (N).
func (p *parser) optionalNumber() (uint32, bool) {
	start, open := p.at, 0
	for p.skipOp("(") {
		open++
	}
	t := p.peek()
	if p.skip(t.kind == tokenNumber) {
		for open > 0 && p.skipOp(")") {
			open--
		}
		if open == 0 {
			return t.num, true
		}
	}
	p.at = start
	return 0, false
}

// restOfQualifiers reads direction and kind; more is false when neither is there.
func (p *parser) restOfQualifiers(q *qualifiers) (more bool, err error) {
	if t := p.peek(); t.isKey(keySrc) || t.isKey(keyDst) {
		p.next()
		more, q.dir = true, dirSrc
		if t.key == keyDst {
			q.dir = dirDst
		}
		if j, u := p.peek(), p.peekSecond(); (j.isAnd() || j.isOr()) && (u.isKey(keySrc) || u.isKey(keyDst)) && u.key != t.key {
			p.at += 2
			if q.dir = dirOr; j.isAnd() {
				q.dir = dirAnd
			}
		}
	}
	switch t := p.peek(); {
	case t.isKey(keyHost), t.isKey(keyNet), t.isKey(keyPort), t.isKey(keyPortrange):
		p.next()
		more, q.kind = true, t.key
	case t.isKey(keyProto):
		if more {
			return false, p.errorf(t.off, `"proto" has no direction`)
		}
		p.next()
		more, q.kind = true, t.key
	case t.kind == tokenWord && !t.escaped && !more && (t.text == "gateway" || t.text == "protochain"):
		return false, p.unknownPrimitive(t)
	}
	return more, nil
}

// values reads what stands after qualifiers: a value, or values in parentheses joined by and/or.
func (p *parser) values(q qualifiers) (node, error) {
	t := p.peek()
	switch {
	case t.isNot(), t.isOp("("):
		p.next()
		if err := p.enter(t); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if t.isNot() {
			n, err := p.values(q)
			return &notNode{t.position(), n}, err
		}
	default:
		return p.value(q)
	}
	left, err := p.values(q)
	for err == nil {
		u := p.peek()
		if !u.isAnd() && !u.isOr() {
			return left, p.closing(t)
		}
		p.next()
		var right node
		if right, err = p.values(q); err == nil {
			left = &bothNode{position: u.position(), or: u.isOr(), left: left, right: right}
		}
	}
	return nil, err
}

// value reads one value, with its prefix length or mask.
func (p *parser) value(q qualifiers) (node, error) {
	t := p.peek()
	if t.kind == tokenKeyword && q.kind == keyProto {
		// tcpdump wants "proto \tcp"; the backslash adds nothing here, so it may be left out.
		t.kind = tokenWord
	}
	if !t.isValue() {
		return nil, p.unexpected(t, "a value for "+q.describe())
	}
	p.next()
	n := &idNode{position: t.position(), qual: q, id: t}
	end := t.end
	switch u := p.peek(); {
	case u.isOp("/") && (t.kind == tokenIPv4 || t.kind == tokenIPv6 || t.kind == tokenNumber):
		p.next()
		length := p.next()
		if length.kind != tokenNumber {
			return nil, p.unexpected(length, "a prefix length")
		}
		n.hasPrefix, n.prefix, end = true, length.num, length.end
	case u.isKey(keyMask) && (t.kind == tokenIPv4 || t.kind == tokenNumber):
		p.next()
		mask := p.next()
		if mask.kind != tokenIPv4 {
			return nil, p.unexpected(mask, "a network mask such as 255.255.0.0")
		}
		n.mask, end = &mask, mask.end
	}
	n.text = strings.Join(strings.Fields(p.expr[t.off:end]), " ")
	return n, nil
}
