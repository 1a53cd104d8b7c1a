package filter

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// maxExpression is the longest expression that is read, in bytes. tcpdump has no limit of its own; the longest in practice are
// generated lists of hosts.
const maxExpression = 64 << 10

type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a name; text has no escaping backslash
	tokenKeyword           // key says which
	tokenNumber            // num
	tokenIPv4              // a dotted address of two to four parts; num holds the bits, bits how many of them were written
	tokenIPv6              // ip
	tokenMAC               // mac
	tokenOp                // text is one of the operators
)

type token struct {
	kind    tokenKind
	key     keyword
	bits    uint8
	escaped bool // written with a backslash: never a keyword
	num     uint32
	off     int // in the expression
	end     int
	text    string
	ip      netip.Addr
	mac     [6]byte
}

// The forms of a word, anchored. The longest match of any of them is the token, and where two are as long the earlier one here
// wins: that is how libpcap's scanner reads "1-2-3-4-5-6" (an Ethernet address), "1.2.3" (an address) and "10-20" (a word).
var (
	lexMAC = longest(`^([0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}` +
		`|[0-9A-Fa-f]{1,2}(-[0-9A-Fa-f]{1,2}){5}` +
		`|[0-9A-Fa-f]{1,2}(\.[0-9A-Fa-f]{1,2}){5}` +
		`|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}` +
		`|[0-9A-Fa-f]{12})`)
	lexNumber = longest(`^([0-9]+|0[xX][0-9A-Fa-f]+)`)
	lexIPv4   = longest(`^([0-9]+|0[xX][0-9A-Fa-f]+)(\.([0-9]+|0[xX][0-9A-Fa-f]+)){1,3}`)
	lexWord   = longest(`^[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?`)
	lexColons = longest(`^[0-9A-Fa-f]{1,2}:+([0-9A-Fa-f]{1,2}:+)+`)
)

func longest(expr string) *regexp.Regexp {
	re := regexp.MustCompile(expr)
	re.Longest()
	return re
}

// maxWord bounds what the forms above are tried on: no address, number or known name is longer, and it keeps reading linear.
const maxWord = 256

// maxIPv6Text is the longest text form of an IPv6 address, in bytes.
const maxIPv6Text = len("0000:0000:0000:0000:0000:0000:255.255.255.255")

// tokenize splits expr. The last token is always tokenEnd.
func tokenize(expr string) ([]token, error) {
	if len(expr) > maxExpression {
		return nil, &SyntaxError{Expr: expr, Offset: maxExpression, Msg: fmt.Sprintf("longer than %d bytes", maxExpression)}
	}
	var tokens []token
	for off := 0; off < len(expr); {
		switch c := expr[off]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			off++
			continue
		case c == '\\':
			end := off + 1
			for end < len(expr) && expr[end] > ' ' && expr[end] < 0x7f && strings.IndexByte("!()", expr[end]) < 0 {
				end++
			}
			switch {
			case end == off+1:
				return nil, &SyntaxError{Expr: expr, Offset: off, Msg: "a backslash escapes nothing"}
			case end-off > maxWord:
				return nil, nameTooLong(expr, off)
			}
			tokens = append(tokens, token{kind: tokenWord, escaped: true, off: off, end: end, text: expr[off+1 : end]})
			off = end
			continue
		case isAlnum(c), c == ':':
			t, err := scanWord(expr, off)
			if err != nil {
				return nil, err
			}
			if t.kind != tokenEnd {
				tokens = append(tokens, t)
				off = t.end
				continue
			}
		}
		op := scanOperator(expr[off:])
		if op == "" {
			return nil, badCharacter(expr, off)
		}
		tokens = append(tokens, token{kind: tokenOp, off: off, end: off + len(op), text: op})
		off += len(op)
	}
	return append(tokens, token{kind: tokenEnd, off: len(expr), end: len(expr)}), nil
}

func nameTooLong(expr string, off int) error {
	return &SyntaxError{Expr: expr, Offset: off, Msg: fmt.Sprintf("a name longer than %d bytes", maxWord-1)}
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// scanOperator returns the operator that s begins with, in the one spelling that the parser knows.
func scanOperator(s string) string {
	for _, op := range []string{">=", "<=", "!=", "==", "<<", ">>", "&&", "||"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	if strings.IndexByte("+-*/%:[]!<>()&|^=", s[0]) >= 0 {
		return s[:1]
	}
	return ""
}

func badCharacter(expr string, off int) error {
	e := &SyntaxError{Expr: expr, Offset: off, Msg: fmt.Sprintf("unexpected character %q", []rune(expr[off:])[0])}
	switch expr[off] {
	case ',', ';':
		e.Hint = `lists are written with "or": port 80 or 443`
	case '$':
		e.Msg = "ARCnet addresses are known but not supported"
	case '\'', '"':
		e.Hint = "quotes belong to the shell, not to the expression"
	}
	return e
}

// scanWord reads the longest number, address or name at off. A tokenEnd without an error means there is none.
func scanWord(expr string, off int) (token, error) {
	s := expr[off:min(off+maxWord, len(expr))]
	t := token{off: off, end: off}
	longer := func(n int, kind tokenKind) {
		if n > t.end-off {
			t.kind, t.end = kind, off+n
		}
	}
	longer(len(lexMAC.FindString(s)), tokenMAC)
	longer(len(lexNumber.FindString(s)), tokenNumber)
	longer(len(lexIPv4.FindString(s)), tokenIPv4)
	n, ip := scanIPv6(s)
	longer(n, tokenIPv6)
	colons := len(lexColons.FindString(s))
	word := len(lexWord.FindString(s))
	if word == maxWord {
		return t, nameTooLong(expr, off)
	}
	if colons > max(t.end-off, word) {
		return t, &SyntaxError{Expr: expr, Offset: off, Msg: fmt.Sprintf("bad Ethernet address %q", s[:colons])}
	}
	longer(word, tokenWord)

	t.text = expr[off:t.end]
	var err error
	switch t.kind {
	case tokenMAC:
		t.mac = parseMAC(t.text)
	case tokenNumber:
		t.num, err = parseNumber(t.text)
	case tokenIPv4:
		t.num, t.bits, err = parseDotted(t.text)
	case tokenIPv6:
		t.ip = ip
	case tokenWord:
		if n, ok := constants[t.text]; ok {
			t.kind, t.num = tokenNumber, n
		} else if k, ok := keywords[t.text]; ok {
			t.kind, t.key = tokenKeyword, k
		}
	}
	if err != nil {
		return t, &SyntaxError{Expr: expr, Offset: off, Msg: err.Error()}
	}
	return t, nil
}

// scanIPv6 returns the longest prefix of s that is an IPv6 address.
func scanIPv6(s string) (int, netip.Addr) {
	n := 0
	for n < len(s) && n < maxIPv6Text && (isHex(s[n]) || s[n] == ':' || s[n] == '.') {
		n++
	}
	if strings.Count(s[:n], ":") < 2 {
		return 0, netip.Addr{}
	}
	for ; n > 1; n-- {
		if ip, err := netip.ParseAddr(s[:n]); err == nil && ip.Is6() {
			return n, ip
		}
	}
	return 0, netip.Addr{}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
