package httpwire

import (
	"bytes"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// resync looks whether a segment that comes while the message boundary is unknown begins with a whole start line, and if so takes up
// reading there. The head still has to prove flawless, with a Host; else the guess was wrong and the side is lost again.
//
// Only the front of a segment is ever looked at: peers send a head in a segment of its own or at the front of one, while inside a
// segment anything may stand, such as a request that a document quotes.
func (c *Conn) resync(from session.Side, data []byte) {
	s := &c.side[from]
	if c.match.connect && data[0] == tlsHandshake {
		s.state = stateTunnel
		return
	}
	if isWholeStartLine(from, data) {
		s.state, s.resynced = stateHead, true
	}
}

// isWholeStartLine is the strict test of resync: CRLF at its end, a method in capitals, a target of a known form without space.
func isWholeStartLine(from session.Side, data []byte) bool {
	line, complete := firstLine(data)
	if !complete || len(line) == bytes.IndexByte(data, '\n') {
		return false // no CR before the LF
	}
	if from == session.Server {
		_, _, ok := parseStatusLine(line)
		return ok
	}
	method, target, _, ok := parseRequestLine(line)
	if !ok || !isPlausible(method, target) {
		return false
	}
	return true
}

// isPlausible tells methods and targets that clients really send from words that happen to stand in a text.
func isPlausible(method, target []byte) bool {
	for _, b := range method {
		if (b < 'A' || b > 'Z') && b != '-' {
			return false
		}
	}
	for _, b := range target {
		if b <= ' ' || b == 0x7f {
			return false
		}
	}
	form, authority, _, _ := splitTarget(method, target)
	switch form {
	case AuthorityForm:
		return bytes.IndexByte(authority, ':') > 0 && bytes.IndexByte(authority, '/') < 0
	case AsteriskForm:
		return string(method) == "OPTIONS"
	case AbsoluteForm:
		return len(authority) > 0
	}
	return form == OriginForm
}
