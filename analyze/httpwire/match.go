package httpwire

import "github.com/dynwatch/dynwatch/analyze/session"

// maxPipelined is how many unanswered requests are remembered. In a capture of the client's side alone they all stay unanswered.
const maxPipelined = 64

// tlsHandshake is the first byte of a TLS connection: a record of type handshake (RFC 8446, Section 5.1).
const tlsHandshake = 0x16

// asked is what a response has to know of its request: the answer to HEAD has no body, the answer to CONNECT may open a tunnel.
type asked uint8

const (
	askedPlain asked = iota
	askedHead
	askedConnect
)

// matcher pairs responses with requests, in order (RFC 9112, Section 9.3.2), as far as what was captured allows.
type matcher struct {
	waiting [maxPipelined]asked
	first   uint8 // index of the oldest
	n       uint8
	// ahead counts responses that were fed before their requests; captures do not order the two directions.
	// aheadAccepted: the last of them would have opened a tunnel.
	ahead         int
	aheadAccepted bool
	// connect: a CONNECT is unanswered.
	connect bool
	// unsure: requests or responses are missing, so the pairing has to wait for a quiet moment.
	unsure bool
}

func (m *matcher) init(midstream bool) { m.unsure = midstream }

// request takes a request. quiet tells that the server is not inside a message. It reports whether the request was a CONNECT whose
// acceptance was seen already.
func (m *matcher) request(a asked, quiet bool) (accepted bool) {
	if m.ahead > 0 {
		m.ahead--
		return a == askedConnect && m.ahead == 0 && m.aheadAccepted
	}
	if a == askedConnect {
		m.connect = true
	}
	if m.unsure && quiet {
		// Hardly anybody pipelines: a request that comes while the server is silent is the only one.
		m.unsure, m.n = false, 0
	}
	if m.unsure {
		return false
	}
	if m.n == maxPipelined {
		m.unsure, m.n = true, 0
		return false
	}
	m.waiting[(m.first+m.n)%maxPipelined] = a
	m.n++
	return false
}

// response takes a final response. open tells that it could open a tunnel: 2xx and no length. known is false if its request was not seen.
func (m *matcher) response(open bool) (a asked, known bool) {
	switch {
	case m.n > 0:
		a, known = m.waiting[m.first], true
		m.first = (m.first + 1) % maxPipelined
		m.n--
	case m.unsure && m.connect:
		a, known = askedConnect, true
	case !m.unsure:
		m.ahead++
		m.aheadAccepted = open
	}
	if known && a == askedConnect {
		m.connect = false
	}
	return a, known
}

// gap tells that bytes of a side are missing outside a body.
func (m *matcher) gap(from session.Side) {
	m.unsure = true
	m.ahead = 0
	if from == session.Server {
		m.n = 0
	}
}

// atBoundary reports whether the side is between messages, as far as one can tell.
func (s *side) atBoundary() bool {
	return s.state == stateHead && len(s.buf) == 0 || s.state == stateLost || s.state == stateDone
}

// tunnelBegins decides, at a message boundary and by the first byte of what comes, whether an unanswered CONNECT was in fact
// accepted: its answer may not be captured, or come later in the capture. A client that goes on with anything but another CONNECT
// takes the tunnel as open (an HTTP request inside is then read as the tunnel's), and so does a server that does not answer in HTTP.
func (c *Conn) tunnelBegins(from session.Side, b byte) bool {
	s := &c.side[from]
	if !c.match.connect || s.resynced {
		return false
	}
	if from == session.Client && b != 'C' || from == session.Server && b != 'H' && (c.match.n <= 1 || c.match.unsure) {
		s.state = stateTunnel
		return true
	}
	return false
}

// openTunnel hands both sides over to the tunnel, but for one that cannot be read.
func (c *Conn) openTunnel() {
	for i := range c.side {
		s := &c.side[i]
		if s.state == stateDone || s.state == stateFailing {
			continue
		}
		s.dropBuffer()
		s.state, s.maybeTunnel = stateTunnel, false
	}
	c.match.connect = false
	c.tables.stop()
}
