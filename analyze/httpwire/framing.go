package httpwire

import (
	"bytes"
	"fmt"
	"math"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxChunkExtension bounds the bytes of one chunk-size line, extensions included.
const maxChunkExtension = 16 << 10

// framing is what the fields of a head say about the length of its message (RFC 9112, Section 6).
type framing struct {
	length   int64
	lengths  bool // Content-Length present
	bad      bool // Content-Length unreadable, or several that differ
	encoding bool // Transfer-Encoding present, other than identity
	chunked  bool // its last coding is chunked
}

func (f *framing) any() bool { return f.lengths || f.encoding }

// known is the Content-Length, -1 without a readable one.
func (f *framing) known() int64 {
	if !f.lengths || f.bad {
		return -1
	}
	return f.length
}

// odd tells of a head that has both.
func (f *framing) odd() Odd {
	if f.lengths && f.encoding {
		return OddLengths
	}
	return 0
}

// contentLength takes one Content-Length field; a list of equal numbers is one number (RFC 9110, Section 8.6).
func (f *framing) contentLength(value []byte) {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		n, ok := decimal(trimSpace(part))
		if !ok || f.lengths && n != f.length {
			f.bad = true
		}
		if !f.lengths {
			f.length, f.lengths = n, true
		}
	}
}

// transferEncoding takes one Transfer-Encoding field. Of several the last coding decides.
func (f *framing) transferEncoding(value []byte) {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		coding := trimSpace(part)
		if len(coding) == 0 || equalFold(coding, "identity") {
			continue
		}
		f.encoding, f.chunked = true, equalFold(coding, "chunked")
	}
}

// decimal reads digits only, no sign, at most what an int64 holds.
func decimal(b []byte) (n int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	for _, x := range b {
		d := int64(x) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// frame sets a side's state to what follows its head. Transfer-Encoding wins over Content-Length (RFC 9112, Section 6.3).
func (c *Conn) frame(from session.Side, f framing, response bool) {
	s := &c.side[from]
	s.state = stateHead
	switch {
	case f.encoding && f.chunked:
		s.state, s.chunk = stateChunkSize, chunkLine{}
	case f.encoding && !response:
		c.fail(from, fmt.Errorf("transfer-encoding does not end in chunked: %w", ErrFraming))
	case f.encoding:
		s.state = stateToClose
	case f.lengths && f.bad:
		c.fail(from, fmt.Errorf("content-length: %w", ErrFraming))
	case f.lengths && f.length > 0:
		s.state, s.need = stateBody, f.length
	case f.lengths:
	case response:
		s.state = stateToClose
	}
}

// feedBody steps over content.
func (c *Conn) feedBody(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	n := int(min(int64(len(data)), s.need))
	s.need -= int64(n)
	full := false
	if from == session.Client && c.tables.active {
		full = c.tables.add(data[:n])
	}
	if s.need == 0 {
		full = c.endOfBody(from) || full
	}
	if full && c.tables.read(c.req) {
		return n, TableNames
	}
	return n, None
}

// endOfBody is called when need has reached 0. It reports whether the message is complete.
func (c *Conn) endOfBody(from session.Side) bool {
	s := &c.side[from]
	if s.state == stateChunkData {
		s.state = stateChunkEnd
		return false
	}
	s.state = stateHead
	return from == session.Client && c.tables.active
}

// chunkLine is the reading of a chunk-size line or a trailer section, byte by byte.
type chunkLine struct {
	size    int64
	digits  int
	ended   bool // the digits ended
	length  int  // bytes so far
	content int  // trailer: bytes in the current line, CR not counted
}

// feedChunkSize reads chunk-size, optional extensions, line end (RFC 9112, Section 7.1).
func (c *Conn) feedChunkSize(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	l := &s.chunk
	for i, b := range data {
		l.length++
		digit, hex := hexDigit(b)
		switch {
		case b == '\n':
			if l.digits == 0 {
				return len(data), c.failBody(from, "chunk-size is empty")
			}
			s.need = l.size
			s.state = stateChunkData
			if l.size == 0 {
				s.state = stateTrailer
			}
			*l = chunkLine{}
			return i + 1, None
		case l.length > maxChunkExtension:
			return len(data), c.failBody(from, "chunk-size line too long")
		case l.ended:
		case hex:
			if l.size > 1<<58 {
				return len(data), c.failBody(from, "chunk-size too large")
			}
			l.size, l.digits = l.size<<4|int64(digit), l.digits+1
		case l.digits > 0 && (b == ';' || b == '\r' || b == ' ' || b == '\t'):
			l.ended = true
		default:
			return len(data), c.failBody(from, "chunk-size is not a number")
		}
	}
	return len(data), None
}

// feedChunkEnd expects the line end behind a chunk's data.
func (c *Conn) feedChunkEnd(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	switch {
	case data[0] == '\n':
		s.state, s.chunk = stateChunkSize, chunkLine{}
	case data[0] == '\r' && s.chunk.length == 0:
		s.chunk.length++
	default:
		return len(data), c.failBody(from, "chunk data longer than chunk-size")
	}
	return 1, None
}

// feedTrailer steps over trailer fields up to their empty line; they are never looked at.
func (c *Conn) feedTrailer(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	l := &s.chunk
	for i, b := range data {
		l.length++
		switch {
		case b == '\n' && l.content == 0:
			s.state, *l = stateHead, chunkLine{}
			if from == session.Client && c.tables.read(c.req) {
				return i + 1, TableNames
			}
			return i + 1, None
		case b == '\n':
			l.content = 0
		case l.length > maxHead:
			return len(data), c.failBody(from, "trailer section too long")
		case b != '\r':
			l.content++
		}
	}
	return len(data), None
}

func (c *Conn) failBody(from session.Side, what string) Event {
	if from == session.Client {
		c.tables.stop()
	}
	c.fail(from, fmt.Errorf("%s: %w", what, ErrFraming))
	c.side[from].state = stateDone
	return Unreadable
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10, true
	}
	return 0, false
}
