package httpwire

import (
	"errors"
	"fmt"
	"math"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Limits of what one connection may cost.
const (
	// maxHead is the longest message head, in bytes with its start line and final empty line. DynamoDB itself takes far less.
	maxHead = 64 << 10
	// maxKeptBuffer is the largest head buffer that a side keeps for its next head; larger ones are given back.
	maxKeptBuffer = 4 << 10
)

// Why a side could not be read further. Errors of Err wrap one of these.
var (
	// ErrNotHTTP: where a message should begin, something else does.
	ErrNotHTTP = errors.New("not HTTP at a message boundary")
	// ErrHeadTooLarge: a message head is longer than 64 KiB.
	ErrHeadTooLarge = errors.New("message head over 64 KiB")
	// ErrFraming: nobody can say where the message ends: contradicting or unreadable Content-Length, bad chunk, unknown transfer coding.
	ErrFraming = errors.New("message framing unreadable")
	// ErrGap: bytes are missing where reading cannot take up again (HTTP/2).
	ErrGap = errors.New("bytes missing")
	// ErrTruncated: the side was closed inside a message.
	ErrTruncated = errors.New("closed inside a message")
)

// Event is what a Feed came upon.
type Event uint8

// The events.
const (
	// None: all bytes were used and nothing happened.
	None Event = iota
	// RequestHead: a request head is complete; see Conn.Request.
	RequestHead
	// ResponseHead: a response head is complete, interim ones (1xx) included; see Conn.Response.
	ResponseHead
	// TableNames: table names were read from the current request's body; see Request.Tables. Only with Options.Tables.
	TableNames
	// Tunnelled: the bytes not consumed, and all later ones of this side, are inside a CONNECT tunnel.
	Tunnelled
	// Unreadable: this side cannot be read further; see Conn.Err. Told once; what is fed afterwards is swallowed.
	Unreadable
)

// String is the event's name, for tests and debugging.
func (e Event) String() string {
	names := [...]string{"none", "request", "response", "table names", "tunnelled", "unreadable"}
	if int(e) < len(names) {
		return names[e]
	}
	return fmt.Sprintf("event(%d)", uint8(e))
}

// Options say how to read one connection.
type Options struct {
	// Tables asks for table names out of the JSON bodies of DynamoDB requests. Off, no body byte is looked at.
	Tables bool
	// Midstream: the beginning of the flow was not captured, so the first bytes fed may lie inside a message.
	Midstream bool
}

// Conn reads one connection. It is not safe for concurrent use. A connection costs about 1.5 KiB, plus at most 64 KiB a side
// while a head is incomplete.
type Conn struct {
	opts Options
	side [2]side

	// req is the last complete request head, spare the one to fill next: equal strings are taken over from one to the other.
	req, spare *Request
	requests   [2]Request
	res        Response
	haveRes    bool

	match matcher
	h2    *h2Reader // set once the HTTP/2 preface was seen

	tables tableCollector

	upgraded bool
}

// New returns a Conn that has seen nothing.
func New(o Options) *Conn {
	c := new(Conn)
	c.Reset(o)
	return c
}

// Reset makes c a Conn that has seen nothing, and holds nothing.
func (c *Conn) Reset(o Options) {
	*c = Conn{opts: o}
	c.spare = &c.requests[0]
	c.match.init(o.Midstream)
	if o.Midstream {
		c.side[session.Client].state = stateLost
		c.side[session.Server].state = stateLost
	}
}

// Request is the last complete request head, nil before the first. It is valid, strings apart, until the next Feed.
func (c *Conn) Request() *Request { return c.req }

// Response is the last complete response head, nil before the first. It is valid, strings apart, until the next Feed.
func (c *Conn) Response() *Response {
	if !c.haveRes {
		return nil
	}
	return &c.res
}

// Tunnel reports whether the connection has become a CONNECT tunnel: the proxy answered 2xx, or the client went on as if it had
// while the answer was not (yet) seen. Each side's own boundary is told by Tunnelled.
func (c *Conn) Tunnel() bool {
	return c.side[session.Client].state == stateTunnel || c.side[session.Server].state == stateTunnel
}

// H2C reports whether the client opened with the HTTP/2 preface in cleartext (RFC 9113, Section 3.4).
func (c *Conn) H2C() bool { return c.h2 != nil }

// Upgraded reports whether the server switched to another protocol (101), which ends the reading of both sides.
func (c *Conn) Upgraded() bool { return c.upgraded }

// Err says why a side cannot be read further, nil while it can. A head that announced a body of unreadable length is told before its error.
func (c *Conn) Err(from session.Side) error { return c.side[from&1].err }

// Done reports that nothing fed to this side can bring an event any more.
func (c *Conn) Done(from session.Side) bool { return c.side[from&1].state == stateDone }

// String tells the state without any byte of the streams, so that printing a Conn gives no secret away.
func (c *Conn) String() string {
	return fmt.Sprintf("httpwire.Conn{client: %v, server: %v}", c.side[0].state, c.side[1].state)
}

// GoString is String: %#v would otherwise print buffered bytes.
func (c *Conn) GoString() string { return c.String() }

// Feed reads the next bytes of one side, up to and including the next event, and returns how many it used. A call with data either
// uses at least one byte or returns Tunnelled. Nothing of data is kept but pieces of an incomplete head, which are copied.
func (c *Conn) Feed(from session.Side, data []byte) (n int, event Event) {
	from &= 1
	s := &c.side[from]
	if s.state == stateLost && len(data) > 0 {
		c.resync(from, data)
	}
	for n < len(data) {
		k, ev := c.step(from, s, data[n:])
		n += k
		if ev != None {
			return n, ev
		}
	}
	return n, None
}

// step takes one step of a side's reading: at least one byte, or a change of state, or an event.
func (c *Conn) step(from session.Side, s *side, data []byte) (int, Event) {
	switch s.state {
	case stateHead:
		return c.feedHead(from, data)
	case stateBody, stateChunkData:
		return c.feedBody(from, data)
	case stateChunkSize:
		return c.feedChunkSize(from, data)
	case stateChunkEnd:
		return c.feedChunkEnd(from, data)
	case stateTrailer:
		return c.feedTrailer(from, data)
	case stateToClose:
		// The answer to a request that nobody saw, 2xx, with no length, and then a TLS record: that request was a CONNECT.
		if s.maybeTunnel && data[0] == tlsHandshake {
			c.openTunnel()
			return 0, Tunnelled
		}
		s.maybeTunnel = false
		return len(data), None
	case statePreface:
		return c.feedPreface(data)
	case stateH2:
		return c.feedH2(data)
	case stateTunnel:
		return 0, Tunnelled
	case stateFailing:
		s.state = stateDone
		return len(data), Unreadable
	}
	return len(data), None // stateLost, stateDone
}

// Skippable is how many of the coming bytes of a side certainly bring no event: the stream layer may drop them unread and call Skip.
// math.MaxInt64 means all that will ever come.
func (c *Conn) Skippable(from session.Side) int64 {
	s := &c.side[from&1]
	switch s.state {
	case stateBody, stateChunkData:
		if from == session.Client && c.tables.active {
			return 0
		}
		return s.need
	case stateToClose:
		if s.maybeTunnel {
			return 0
		}
		return math.MaxInt64
	case stateH2:
		return c.h2.skippable()
	case stateDone:
		return math.MaxInt64
	}
	return 0
}

// Skip tells that n bytes of a side were seen by the stream layer and not fed. n should be at most Skippable; more is a gap.
func (c *Conn) Skip(from session.Side, n int64) {
	if n <= 0 {
		return
	}
	c.pass(from&1, n)
}

// Gap tells that n bytes of a side are missing here; n <= 0 means that nobody knows how many. A gap inside a body costs nothing; any
// other one loses the message boundary until a segment begins with a whole start line.
func (c *Conn) Gap(from session.Side, n int) {
	from &= 1
	if n <= 0 {
		c.lose(from)
		return
	}
	c.pass(from, int64(n))
}

// pass moves a side n bytes ahead without their content.
func (c *Conn) pass(from session.Side, n int64) {
	s := &c.side[from]
	switch s.state {
	case stateBody, stateChunkData:
		if n <= s.need {
			if from == session.Client {
				c.tables.stop()
			}
			s.need -= n
			if s.need == 0 {
				c.endOfBody(from)
			}
			return
		}
	case stateToClose:
		s.maybeTunnel = false
		return
	case stateH2:
		if c.h2.pass(n) {
			return
		}
	}
	c.lose(from)
}

// lose gives up a side's message boundary.
func (c *Conn) lose(from session.Side) {
	s := &c.side[from]
	switch s.state {
	case stateDone, stateFailing, stateTunnel, stateToClose, stateLost:
		return
	case stateH2, statePreface:
		c.fail(from, ErrGap)
		c.h2.drop()
		return
	}
	if from == session.Client {
		c.tables.stop()
	}
	c.match.gap(from)
	s.dropBuffer()
	s.resynced = false
	s.state = stateLost
}

// Close tells that a side ended (FIN or RST, or the capture's end).
func (c *Conn) Close(from session.Side) {
	from &= 1
	s := &c.side[from]
	switch s.state {
	case stateHead:
		if len(s.buf) > 0 {
			s.err = fmt.Errorf("%s head: %w", messageOf(from), ErrTruncated)
		}
	case stateBody, stateChunkData, stateChunkSize, stateChunkEnd, stateTrailer:
		s.err = fmt.Errorf("%s body: %w", messageOf(from), ErrTruncated)
	case stateTunnel:
		return
	}
	if from == session.Client {
		c.tables.stop()
		c.h2.drop()
	}
	s.dropBuffer()
	s.state = stateDone
}

// fail ends a side; the next bytes fed to it are answered with Unreadable.
func (c *Conn) fail(from session.Side, err error) {
	s := &c.side[from]
	s.err = fmt.Errorf("%s: %w", messageOf(from), err)
	s.dropBuffer()
	s.state = stateFailing
}

// messageOf names what a side sends.
func messageOf(from session.Side) string {
	if from == session.Client {
		return "request"
	}
	return "response"
}
