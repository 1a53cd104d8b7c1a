package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	// Path is the key: policy.allow_proxy[1]. From is where the value came from, if not from the file: --allow-proxy.
	Path, From string
	Text       string
	// File, Line and Column say where in the file, from 1; Excerpt shows the place. They are empty for values from elsewhere.
	File         string
	Line, Column int
	Excerpt      string
}

// Error is one line, and the excerpt in further lines that begin with a space.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	} else if p.File != "" && p.From == "" {
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	switch {
	case p.From != "":
		fmt.Fprintf(&b, "%s: ", p.From)
	case p.Path != "":
		fmt.Fprintf(&b, "%s: ", p.Path)
	}
	b.WriteString(p.Text)
	if p.Excerpt != "" {
		b.WriteString("\n" + p.Excerpt)
	}
	return b.String()
}

// Problems are all that is wrong, in the order of the file.
type Problems []*Problem

// Error joins the problems, each on lines of its own.
func (p Problems) Error() string {
	var lines []string
	for _, x := range p {
		lines = append(lines, x.Error())
	}
	return strings.Join(lines, "\n")
}

// excerpt shows a line of text with a caret under a column (in characters from 1). The log shows it too, so that secrets in it are hidden: who put a
// password where its file's name belongs finds the line by its number.
func excerpt(text string, line, column int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	const widest = 160
	s := []rune(strings.TrimRight(lines[line-1], "\r"))
	if len(s) > widest || column < 1 || column > len(s)+1 || slices.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' }) {
		return ""
	}
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(s[:column-1]))
	number := fmt.Sprintf("%6d", line)
	return fmt.Sprintf(" %s | %s\n %s | %s^", number, hidden(string(s)), strings.Repeat(" ", len(number)), pad)
}

// secretPlaces are where a line may hold a secret, as the last group: user, password, path and query of a URL, and values of keys that are named like one. The
// keys of a configuration that name files end in _file.
var secretPlaces = []*regexp.Regexp{
	regexp.MustCompile(`://([^\s'"]*@)`),
	regexp.MustCompile(`https?://[^/\s'"]+/([^\s'",}]+)`),
	regexp.MustCompile(`(?i)(?:password|passwd|passphrase|secret|token|bearer|credentials?|key)['"]?\s*[:=]\s*([^\s{\[].*)`),
}

// hidden is a line with stars for each character of its secrets, so that columns stay what they were.
func hidden(line string) string {
	for _, place := range secretPlaces {
		for _, m := range place.FindAllStringSubmatchIndex(line, -1) {
			from, to := m[2], m[3]
			stars := strings.Repeat("*", utf8.RuneCountInString(line[from:to]))
			if len(stars) == to-from {
				line = line[:from] + stars + line[to:]
				continue
			}
			return line[:from] + strings.Repeat("*", utf8.RuneCountInString(line[from:])) // what follows has moved
		}
	}
	return line
}
