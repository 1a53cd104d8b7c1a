package output

import (
	"strings"
	"unicode/utf8"
)

// A cell is a piece of a line: text that is safe to print, the width of its column (0 for none), and how it is painted (nil is not at all).
type cell struct {
	text  string
	width int
	paint func(string) string
	prose bool // a sentence, which may be broken anywhere between words
}

// Columns of the text form, counted from 0: where verdicts and severities begin, and where what they are about does.
const (
	verdictColumn = 16
	subjectColumn = 27
	// minWrap: a narrower terminal breaks lines itself, for ours would have hardly a word.
	minWrap = 40
)

// writeLine puts cells into one line, aligned; or, where that is wider than width (0 is without limit), into several, with later lines
// indented to the subject's column. A cell goes whole into the next line if it does not fit into this one; one that fits into no line, and
// prose, is broken between words.
func writeLine(b *strings.Builder, width int, cells ...cell) {
	used := 0
	for i, c := range cells {
		used += c.chars()
		if i < len(cells)-1 {
			used += c.padding() + 1
		}
	}
	if used <= width || width < minWrap {
		for i, c := range cells {
			b.WriteString(c.painted(c.text))
			if i < len(cells)-1 {
				spaces(b, c.padding()+1)
			}
		}
		b.WriteByte('\n')
		return
	}
	w := wrapper{b: b, width: width, indent: subjectColumn}
	if width < subjectColumn+minWrap/2 {
		w.indent = verdictColumn
	}
	for i, c := range cells {
		if i < 2 {
			b.WriteString(c.painted(c.text))
			spaces(b, c.padding()+1)
			w.at += c.chars() + c.padding() + 1
			continue
		}
		w.cell(c)
	}
	b.WriteByte('\n')
}

func (c cell) chars() int   { return utf8.RuneCountInString(c.text) }
func (c cell) padding() int { return max(c.width-c.chars(), 0) }

func (c cell) painted(part string) string {
	if c.paint == nil || part == "" {
		return part
	}
	return c.paint(part)
}

// wrapper breaks cells into lines.
type wrapper struct {
	b             *strings.Builder
	width, indent int
	at            int  // the column that is next
	begun         bool // something stands in this line behind its indent
	pad           int  // spaces that complete the last cell's column, due if another follows in this line
}

// cell writes a cell whole into this line or the next, or word by word if it fits into none.
func (w *wrapper) cell(c cell) {
	if c.chars() <= w.width-w.indent && !c.prose {
		w.word(c, c.text)
		w.pad = c.padding()
		return
	}
	for word := range strings.SplitSeq(c.text, " ") {
		w.word(c, word)
	}
}

// word writes what should not be broken; it is broken only if it is longer than a line.
func (w *wrapper) word(c cell, s string) {
	n := utf8.RuneCountInString(s)
	if w.begun {
		if w.at+w.pad+1+n > w.width {
			w.next()
		} else {
			spaces(w.b, w.pad+1)
			w.at += w.pad + 1
		}
		w.pad = 0
	}
	for w.at+n > w.width {
		cut, room := 0, max(w.width-w.at, 1)
		for range room {
			_, size := utf8.DecodeRuneInString(s[cut:])
			cut += size
		}
		w.b.WriteString(c.painted(s[:cut]))
		w.next()
		s, n = s[cut:], n-room
	}
	w.b.WriteString(c.painted(s))
	w.at += n
	w.begun = true
}

func (w *wrapper) next() {
	w.b.WriteByte('\n')
	spaces(w.b, w.indent)
	w.at, w.begun = w.indent, false
}

func spaces(b *strings.Builder, n int) {
	for range n {
		b.WriteByte(' ')
	}
}
