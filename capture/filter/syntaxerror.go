package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError says what is wrong with an expression and where. It is the type of every error about the expression itself, those
// that only show for one link type (such as "vlan" on a raw IP capture) included.
type SyntaxError struct {
	Expr   string // the whole expression
	Offset int    // byte offset in Expr that the message is about; len(Expr) at its end
	Msg    string // lower case, no full stop
	Hint   string // what to write instead; may be empty
}

// excerptBefore and excerptAfter bound how much of a long expression stands around the caret, in bytes.
const (
	excerptBefore = 50
	excerptAfter  = 28
)

// Error is the message, the part of the expression around the offset with a caret under it, and the hint, on up to four lines.
func (e *SyntaxError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "filter expression: %s\n%s", e.Msg, e.Excerpt())
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n%s", e.Hint)
	}
	return b.String()
}

// Excerpt is two lines, each indented by two spaces: the expression, cut where it is long and with control bytes replaced, and a
// caret under Offset.
func (e *SyntaxError) Excerpt() string {
	off := min(max(e.Offset, 0), len(e.Expr))
	from, to := 0, len(e.Expr)
	head, tail := "", ""
	if off > excerptBefore+3 {
		from, head = off-excerptBefore, "..."
	}
	if to-off > excerptAfter+3 {
		to, tail = off+excerptAfter, "..."
	}
	before, after := printable(e.Expr[from:off]), printable(e.Expr[off:to])
	return "  " + head + before + after + tail + "\n" +
		"  " + strings.Repeat(" ", len(head)+utf8.RuneCountInString(before)) + "^"
}

// printable replaces what could move the cursor or is no text, rune for rune.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || (r >= 0x7f && r < 0xa0) || (r >= 0x2028 && r < 0x202f) {
			return '?'
		}
		return r
	}, s)
}
