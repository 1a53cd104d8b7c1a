package httpwire

import (
	"bytes"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// state is where in a message a side is.
type state uint8

const (
	stateHead      state = iota // at a message boundary, or inside a head whose bytes so far are in buf
	stateBody                   // need bytes of a Content-Length body left
	stateChunkSize              // inside a chunk-size line
	stateChunkData              // need bytes of a chunk left
	stateChunkEnd               // the line end behind a chunk's data
	stateTrailer                // the trailer section of a chunked body
	stateToClose                // a body that lasts until the connection closes
	statePreface                // behind "PRI * HTTP/2.0", need bytes of the preface left
	stateH2                     // HTTP/2 frames
	stateLost                   // the message boundary is unknown
	stateTunnel                 // inside a CONNECT tunnel
	stateFailing                // failed, not yet told
	stateDone                   // nothing more is read
)

var stateNames = [...]string{"head", "body", "chunk size", "chunk", "chunk end", "trailer", "body to close", "preface", "http2",
	"lost", "tunnel", "failing", "done"}

func (s state) String() string { return stateNames[s] }

// side is the reading of one direction.
type side struct {
	state state
	need  int64
	chunk chunkLine
	buf   []byte // an incomplete head
	// lineChecked: the start line at the front of buf is complete and was found to be one.
	lineChecked bool
	// resynced: the head being read was found by a guess, so it has to be flawless.
	resynced bool
	// maybeTunnel: the body to close follows a 2xx whose request is unknown.
	maybeTunnel bool
	// messages counts complete heads, up to 255.
	messages uint8
	err      error
}

// dropBuffer forgets an incomplete or finished head. The bytes may be secrets, so they are cleared.
func (s *side) dropBuffer() {
	clear(s.buf)
	if cap(s.buf) > maxKeptBuffer {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	s.lineChecked = false
}

// headEnd returns the offset just behind the empty line that ends the head in b, 0 if there is none. The search begins at from.
// A line ends with LF; a CR before it belongs to the line end (RFC 9112, Section 2.2).
func headEnd(b []byte, from int) int {
	for i := from; i < len(b); {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		if i < len(b) && b[i] == '\n' {
			return i + 1
		}
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			return i + 2
		}
	}
	return 0
}

// feedHead gathers a head. One that lies whole in data is parsed in place.
func (c *Conn) feedHead(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	if len(s.buf) > 0 {
		return c.feedHeadBuffered(from, data)
	}
	n := 0
	for n < len(data) && (data[n] == '\r' || data[n] == '\n') { // empty lines before a start line (RFC 9112, Section 2.2)
		n++
	}
	rest := data[n:]
	if len(rest) == 0 {
		return n, None
	}
	if c.tunnelBegins(from, rest[0]) {
		return n, Tunnelled
	}
	if end := headEnd(rest[:min(len(rest), maxHead)], 0); end > 0 {
		ok, ev := c.head(from, rest[:end])
		if !ok {
			return len(data), ev
		}
		return n + end, ev
	}
	if err := s.checkStart(from, rest); err != nil {
		return len(data), c.failNow(from, err)
	}
	s.buf = append(s.buf[:0], rest...)
	return len(data), None
}

func (c *Conn) feedHeadBuffered(from session.Side, data []byte) (int, Event) {
	s := &c.side[from]
	old := len(s.buf)
	take := min(len(data), maxHead-old)
	s.buf = append(s.buf, data[:take]...)
	if end := headEnd(s.buf, max(0, old-3)); end > 0 {
		ok, ev := c.head(from, s.buf[:end])
		s.dropBuffer()
		if !ok {
			return len(data), ev
		}
		return end - old, ev
	}
	if err := s.checkStart(from, s.buf); err != nil {
		return len(data), c.failNow(from, err)
	}
	return len(data), None
}

// failNow fails a side and tells it at once; a guessed head that turns out bad is only a wrong guess.
func (c *Conn) failNow(from session.Side, err error) Event {
	s := &c.side[from]
	if s.resynced {
		s.dropBuffer()
		s.resynced = false
		s.state = stateLost
		return None
	}
	c.fail(from, err)
	s.state = stateDone
	return Unreadable
}

// checkStart refuses an incomplete head as soon as it cannot become one, so that foreign bytes are not gathered.
func (s *side) checkStart(from session.Side, b []byte) error {
	if !s.lineChecked {
		line, complete := firstLine(b)
		if complete {
			if !isStartLine(from, line, s.messages == 0) {
				return ErrNotHTTP
			}
			s.lineChecked = true
		} else if !mayStart(from, b) {
			return ErrNotHTTP
		}
	}
	if len(b) >= maxHead {
		return ErrHeadTooLarge
	}
	return nil
}

// firstLine is the first line of b without its line end; complete is false if b holds no line end.
func firstLine(b []byte) (line []byte, complete bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, false
	}
	return trimCR(b[:i]), true
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// head takes a complete head. ok is false when reading of this side cannot go on behind it: the rest of the data is of no use.
func (c *Conn) head(from session.Side, head []byte) (ok bool, ev Event) {
	if from == session.Client {
		return c.requestHead(head)
	}
	return c.responseHead(head)
}

func (c *Conn) requestHead(head []byte) (bool, Event) {
	s := &c.side[session.Client]
	if line, _ := firstLine(head); s.messages == 0 && !s.resynced && string(line) == h2Preface {
		s.state, s.need = statePreface, int64(len(h2PrefaceEnd))
		c.h2 = newH2Reader()
		return true, None
	}
	r, prev := c.spare, c.req
	if prev == nil {
		prev = &noRequest
	}
	f, ok := r.parse(head, prev)
	if !ok || s.resynced && !r.flawless() {
		ev := c.failNow(session.Client, ErrNotHTTP)
		return false, ev
	}
	r.Resynced, s.resynced = s.resynced, false
	c.takeRequest(r)
	s.messages = min(s.messages, 254) + 1

	asked := askedPlain
	switch {
	case r.Form == AuthorityForm:
		asked = askedConnect
	case r.Method == "HEAD":
		asked = askedHead
	}
	if asked == askedConnect {
		// A CONNECT request has no content, whatever its fields say (RFC 9110, Section 9.3.6).
		s.state = stateHead
	} else {
		c.frame(session.Client, f, false)
		if c.opts.Tables && (s.state == stateBody || s.state == stateChunkSize) && r.hasTables() {
			c.tables.start()
		}
	}
	if accepted := c.match.request(asked, c.side[session.Server].atBoundary()); accepted {
		c.openTunnel()
	}
	return true, RequestHead
}

// takeRequest makes r, which is the spare, the current request.
func (c *Conn) takeRequest(r *Request) {
	c.req = r
	if c.spare = &c.requests[0]; c.spare == r {
		c.spare = &c.requests[1]
	}
}

func (c *Conn) responseHead(head []byte) (bool, Event) {
	s := &c.side[session.Server]
	f, ok := c.res.parse(head)
	if !ok || s.resynced && c.res.Odd != 0 {
		ev := c.failNow(session.Server, ErrNotHTTP)
		return false, ev
	}
	c.haveRes = true
	c.res.Resynced, s.resynced = s.resynced, false
	s.messages = min(s.messages, 254) + 1
	status := c.res.Status
	if status == 101 {
		c.upgraded = true
		for i := range c.side {
			c.side[i].dropBuffer()
			c.side[i].state = stateDone
		}
		c.tables.stop()
		return true, ResponseHead
	}
	if status < 200 { // interim: the final response is still to come
		s.state = stateHead
		return true, ResponseHead
	}
	asked, known := c.match.response(status/100 == 2 && !f.any())
	c.res.ToConnect = known && asked == askedConnect
	switch {
	case c.res.ToConnect && status/100 == 2:
		c.openTunnel()
	case known && asked == askedHead, status == 204, status == 304:
		s.state = stateHead
	default:
		c.frame(session.Server, f, true)
		s.maybeTunnel = !known && status/100 == 2 && !f.any()
	}
	return true, ResponseHead
}
