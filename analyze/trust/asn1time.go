package trust

import "time"

// readTime reads a UTCTime or GeneralizedTime of a Validity (RFC 5280, Section 4.1.2.5).
//
// RFC 5280 wants seconds and a final Z. Certificates of the wild also leave the seconds out, give a zone offset, a fraction of a second
// (dropped here), or no zone at all, which is then taken for UTC; all these are read. Two-digit years from 50 on are 19xx.
func readTime(tag byte, b []byte) (time.Time, bool) {
	p := timeReader{b: b}
	var year int
	switch tag {
	case tagUTCTime:
		if year = p.digits(2); year < 50 {
			year += 2000
		} else {
			year += 1900
		}
	case tagGeneralizedTime:
		year = p.digits(4)
	default:
		return time.Time{}, false
	}
	month, day, hour, minute, second := p.digits(2), p.digits(2), p.digits(2), p.digits(2), 0
	if p.atDigit() {
		second = p.digits(2)
	}
	if c := p.peek(); c == '.' || c == ',' {
		p.b = p.b[1:]
		for p.atDigit() {
			p.b = p.b[1:]
		}
	}
	offset := 0
	switch c := p.peek(); c {
	case 'Z':
		p.b = p.b[1:]
	case '+', '-':
		p.b = p.b[1:]
		h, m := p.digits(2), p.digits(2)
		if h > 23 || m > 59 {
			return time.Time{}, false
		}
		if offset = h*3600 + m*60; c == '-' {
			offset = -offset
		}
	}
	if p.bad || len(p.b) != 0 {
		return time.Time{}, false
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // 30 February was turned into a day of March
		return time.Time{}, false
	}
	return t.Add(-time.Duration(offset) * time.Second), true
}

type timeReader struct {
	b   []byte
	bad bool
}

func (p *timeReader) peek() byte {
	if len(p.b) == 0 {
		return 0
	}
	return p.b[0]
}

func (p *timeReader) atDigit() bool { c := p.peek(); return c >= '0' && c <= '9' }

func (p *timeReader) digits(n int) int {
	v := 0
	for range n {
		if !p.atDigit() {
			p.bad = true
			return 0
		}
		v = v*10 + int(p.b[0]-'0')
		p.b = p.b[1:]
	}
	return v
}
