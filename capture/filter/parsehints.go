package filter

import (
	"fmt"
	"strings"
)

// The parser's messages: what was found, what was expected, and what was probably meant.

func (p *parser) unexpected(t token, want string) *SyntaxError {
	e := p.errorf(t.off, "expected %s, found %q", want, t.text)
	switch {
	case t.kind == tokenEnd:
		e.Msg = fmt.Sprintf("expected %s, but the expression ends", want)
	case t.kind == tokenWord:
		if reason, ok := unsupported[t.text]; ok && !t.escaped {
			return p.notSupported(t, reason)
		}
		e.Hint = suggest(t.text, names(keywords))
	case t.isOp("&"), t.isOp("|"):
		e.Hint = fmt.Sprintf("conditions are joined by %q or %q", t.text+t.text, map[string]string{"&": "and", "|": "or"}[t.text])
	}
	return e
}

func (p *parser) notSupported(t token, reason string) *SyntaxError {
	e := p.errorf(t.off, "%q is known but not supported", t.text)
	e.Hint = reason
	return e
}

// unknownPrimitive is about a word where a primitive should begin.
func (p *parser) unknownPrimitive(t token) *SyntaxError {
	if reason, ok := unsupported[t.text]; ok {
		return p.notSupported(t, reason)
	}
	e := p.errorf(t.off, "unknown primitive %q", t.text)
	if _, ok := services[t.text]; ok {
		e.Hint = fmt.Sprintf("did you mean \"port %s\"?", t.text)
	} else if e.Hint = suggest(t.text, names(keywords)); e.Hint == "" && strings.Contains(t.text, ".") {
		e.Hint = noNames
	}
	return e
}

// bareValue is about a value with nothing before it that says what it is.
func (p *parser) bareValue(t token) *SyntaxError {
	e := p.errorf(t.off, "nothing says what %q is", t.text)
	switch t.kind {
	case tokenIPv4, tokenIPv6:
		e.Hint = fmt.Sprintf("write \"host %s\" or \"net %s\"", t.text, t.text)
	case tokenMAC:
		e.Hint = fmt.Sprintf("write \"ether host %s\"", t.text)
	case tokenNumber:
		e.Hint = fmt.Sprintf("write \"port %s\", \"proto %s\" or a comparison", t.text, t.text)
	}
	return e
}

// missingKind is about "tcp 443" and "ip 10.0.0.1".
func (p *parser) missingKind(proto, t token) *SyntaxError {
	if t.kind == tokenWord && !t.escaped {
		if reason, ok := unsupported[t.text]; ok {
			return p.notSupported(t, reason)
		}
	}
	e := p.errorf(t.off, "nothing says what %q is", t.text)
	kind := "host"
	switch {
	case proto.key == keyTCP, proto.key == keyUDP, proto.key == keySCTP:
		kind = "port"
	case t.kind == tokenNumber:
		kind = "proto"
	}
	e.Hint = fmt.Sprintf("write \"%s %s %s\"", proto.text, kind, t.text)
	if t.kind == tokenWord {
		if h := suggest(t.text, names(keywords)); h != "" {
			e.Hint = h
		}
	}
	return e
}

// unknownOperand is about a name inside arithmetic.
func (p *parser) unknownOperand(t token) *SyntaxError {
	e := p.errorf(t.off, "unknown name %q in arithmetic", t.text)
	if head, _, ok := strings.Cut(t.text, "-"); ok && (isNumber(head) || keywords[head] == keyLen) {
		e.Hint = "a minus sign inside a word belongs to the word: write spaces around it"
	} else {
		e.Hint = suggest(t.text, names(constants))
	}
	return e
}

func isNumber(s string) bool {
	_, err := parseNumber(s)
	return err == nil
}

func (q qualifiers) describe() string {
	words := make([]string, 0, 3)
	if q.proto != keyNone {
		words = append(words, q.proto.String())
	}
	switch q.dir {
	case dirSrc:
		words = append(words, "src")
	case dirDst:
		words = append(words, "dst")
	case dirOr:
		words = append(words, "src or dst")
	case dirAnd:
		words = append(words, "src and dst")
	}
	if q.kind != keyNone {
		words = append(words, q.kind.String())
	}
	return `"` + strings.Join(words, " ") + `"`
}

const noNames = "host names are never looked up: write the address"
