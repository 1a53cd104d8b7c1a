package httpwire

import "bytes"

// fieldLines walks the lines of a head.
type fieldLines struct {
	rest []byte // what is left; ends with the empty line
	odd  Odd
}

// next is the next line without its line end; more is false at the empty line and at the end.
func (l *fieldLines) next() (line []byte, more bool) {
	i := bytes.IndexByte(l.rest, '\n')
	if i < 0 {
		return nil, false
	}
	line, l.rest = l.rest[:i], l.rest[i+1:]
	if i == 0 || line[i-1] != '\r' {
		l.odd |= OddLineEnd
		return line, i > 0
	}
	return line[:i-1], i > 1
}

// field is the next field: name without space, value trimmed; a folded value is joined with single spaces into a new slice.
// Lines that are no fields are stepped over and noted.
func (l *fieldLines) field() (name, value []byte, more bool) {
	for {
		line, more := l.next()
		if !more {
			return nil, nil, false
		}
		colon := bytes.IndexByte(line, ':')
		if line[0] == ' ' || line[0] == '\t' || colon <= 0 {
			l.odd |= OddLine
			continue
		}
		name, value = line[:colon], trimSpace(line[colon+1:])
		if bare := trimSpace(name); len(bare) != len(name) {
			l.odd |= OddLine
			name = bare
		}
		if !isToken(name) {
			l.odd |= OddLine
			continue
		}
		if len(l.rest) > 0 && (l.rest[0] == ' ' || l.rest[0] == '\t') {
			value = l.unfold(value)
		}
		return name, value, true
	}
}

func (l *fieldLines) unfold(value []byte) []byte {
	l.odd |= OddFold
	value = bytes.Clone(value)
	for len(l.rest) > 0 && (l.rest[0] == ' ' || l.rest[0] == '\t') {
		line, more := l.next()
		if !more {
			break
		}
		value = append(append(value, ' '), trimSpace(line)...)
	}
	return trimSpace(value)
}

func isToken(b []byte) bool {
	for _, x := range b {
		if !isTchar(x) {
			return false
		}
	}
	return len(b) > 0
}

// trimSpace cuts spaces and tabs off both ends (OWS, RFC 9110, Section 5.6.3).
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with an ASCII word given in lower case, without regard to case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		x := b[i]
		if x >= 'A' && x <= 'Z' {
			x |= 0x20
		}
		if x != lower[i] {
			return false
		}
	}
	return true
}

// keep copies at most limit bytes into a string of printable ASCII; every other byte becomes "?". If that is prev, prev is returned and
// nothing is allocated.
func keep(prev string, b []byte, limit int) string {
	if len(b) > limit {
		b = b[:limit]
	}
	if string(b) == prev {
		return prev
	}
	for i, x := range b {
		if x < ' ' || x > '~' {
			clean := bytes.Clone(b)
			for j := i; j < len(clean); j++ {
				if clean[j] < ' ' || clean[j] > '~' {
					clean[j] = '?'
				}
			}
			return string(clean)
		}
	}
	return string(b)
}
