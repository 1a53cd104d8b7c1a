package flow

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable makes a name that is somebody else's choice safe to show and to store: control characters, what is not UTF-8, and characters that turn
// the direction of text become a question mark; ends of lines and tabs a space. The names of tasks, files and cgroups are bytes
// to the kernel, and any process may choose its own.
func Printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if unprintable(r) {
			return '?'
		}
		return r
	}, s)
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
