package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what the text form shows of one string from the wire, in characters. An honest host name has 253 at most, an honest
// distinguished name about a hundred; JSON has them whole.
const (
	maxShownName = 255
	maxShownText = 1024
)

// clean makes text from the wire (a distinguished name, a message with one in it) safe to print: control characters, direction marks and
// whatever else does not print are escaped as in Go source, bytes that are no UTF-8 too. Long text is cut and ends in "…".
func clean(s string) string { return escape(s, maxShownText, unicode.IsPrint) }

// cleanName does the same for what stands in a column of its own, where a space could pass for the column's end, and a letter for another
// that looks like it: only visible ASCII stands as it is.
func cleanName(s string) string {
	return escape(s, maxShownName, func(r rune) bool { return r > ' ' && r < 0x7f })
}

func escape(s string, limit int, plain func(rune) bool) string {
	var b strings.Builder
	for i, n := 0, 0; i < len(s); n++ {
		if n == limit {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case plain(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// lineWriter passes JSON on and escapes what encoding/json leaves as it is although it drives a terminal or hides text: DEL, the C1 controls
// (U+009B begins an ANSI sequence), direction marks and other characters that do not print. JSON has none of them outside of strings.
type lineWriter struct {
	w   io.Writer
	buf bytes.Buffer
}

// Write takes whole lines.
func (l *lineWriter) Write(p []byte) (int, error) {
	first := bytes.IndexFunc(p, hidden)
	if first < 0 {
		return l.w.Write(p)
	}
	l.buf.Reset()
	l.buf.Write(p[:first])
	for i := first; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		switch {
		case !hidden(r):
			l.buf.Write(p[i : i+size])
		case r < 0x10000:
			fmt.Fprintf(&l.buf, `\u%04x`, r)
		default:
			fmt.Fprintf(&l.buf, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		}
		i += size
	}
	if _, err := l.w.Write(l.buf.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// hidden reports whether a character of a JSON line must be escaped.
func hidden(r rune) bool { return r != '\n' && (r == 0x7f || r > 0x7f && !unicode.IsPrint(r)) }
