package daxwire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// magic is the first item of a connection as it stands on the wire.
const magic = "\x67J7yne5G"

// What a call to authorizeConnection begins with.
const (
	serviceID           = 1
	authorizeConnection = 1489122155
)

// Limits of reading one connection.
const (
	// maxBytes is how far a connection is searched for authorizeConnection before the reading ends without.
	maxBytes = 64 << 10
	// maxKept is the longest string that is looked into: user agent, key id, the string to sign up to its scope.
	maxKept = 256
	// maxUserAgent is the longest user agent that is told; longer ones are cut.
	maxUserAgent = 256
)

// Why a connection could not be read on. Errors of Err wrap one of these, or tell what is wrong with the CBOR.
var (
	// ErrNotDAX: the connection does not begin with DAX's opening.
	ErrNotDAX = errors.New("not a DAX opening")
	// ErrGap: bytes are missing.
	ErrGap = errors.New("bytes missing")
)

// Answer is what Sniff says.
type Answer uint8

// The answers.
const (
	NeedMore Answer = iota // too short to tell
	Yes
	No
)

// Sniff tells by a client's first bytes whether the connection speaks cleartext DAX. Eight bytes settle it.
func Sniff(first []byte) Answer {
	n := min(len(first), len(magic))
	switch {
	case string(first[:n]) != magic[:n]:
		return No
	case n < len(magic):
		return NeedMore
	}
	return Yes
}

// Opening is what the client's first bytes told. It holds no secret.
type Opening struct {
	// Seen: the whole magic was there.
	Seen bool
	// UserAgent is of the opening or the call; printable ASCII, every other byte became "?".
	UserAgent string
	// AuthSeen: an authorizeConnection call began. The fields below are its arguments, as far as they were seen.
	AuthSeen bool
	// AuthComplete: all five arguments were seen, so that a false SessionToken means that none was sent.
	AuthComplete bool
	// AccessKeyID is masked (AKIA…MPLE).
	AccessKeyID string
	// Region and Service are of the credential scope; Service is "dax".
	Region, Service         string
	Signature, SessionToken bool
}

// step says what the next item at the top level is.
type step uint8

const (
	stepMagic step = iota
	stepLayering
	stepSession
	stepAgent
	stepMode
	stepCalls // looking for a service id
	stepMethod
	stepKeyID
	stepSignature
	stepStringToSign
	stepToken
	stepCallAgent
)

var stepNames = [...]string{"magic", "layering", "session", "agent map", "client mode", "call", "method id", "access key id", "signature",
	"string to sign", "session token", "user agent"}

func (s step) String() string { return stepNames[s] }

// Reader reads the client's side of one connection. The zero value is ready. It is not safe for concurrent use; it holds about 3 KiB.
type Reader struct {
	opening Opening
	offset  int
	done    bool
	err     error

	step  step
	head  headReader
	stack nesting
	// The current string: bytes still to come, and those kept of it.
	inString bool
	left     uint64
	isKey    bool // it is a key of the agent map
	keep     bool
	kept     []byte
	// nonEmpty: the current top-level string has content, in whatever chunk.
	nonEmpty bool
	// agentKey: the last key of the agent map was "UserAgent".
	agentKey bool
	// top is the head of the current item at the top level.
	top head
}

// Opening is what has been seen so far.
func (r *Reader) Opening() Opening { return r.opening }

// Done reports that nothing fed from now on can change the result.
func (r *Reader) Done() bool { return r.done }

// Err says why reading ended before an authorizeConnection was complete; nil while it goes on, and after a regular end.
func (r *Reader) Err() error { return r.err }

// String tells the state without any byte of the stream.
func (r *Reader) String() string { return fmt.Sprintf("daxwire.Reader{%v}", r.step) }

// GoString is String: %#v would otherwise print buffered bytes.
func (r *Reader) GoString() string { return r.String() }

// Gap tells that bytes are missing here, which ends the reading.
func (r *Reader) Gap() {
	if !r.done {
		r.fail(ErrGap)
	}
}

func (r *Reader) fail(err error) {
	r.err = fmt.Errorf("DAX %v at offset %d: %w", r.step, r.offset, err)
	r.end()
}

func (r *Reader) end() {
	r.done = true
	clear(r.kept[:cap(r.kept)])
	r.kept = nil
}

// Feed reads the next bytes from the client, in stream order and in any split. Nothing of data is kept but the front of short strings
// that are told, and those are cleared. It returns Err.
func (r *Reader) Feed(data []byte) error {
	for len(data) > 0 && !r.done {
		n := 1
		if r.inString {
			n = r.content(data)
		} else {
			r.one(data[0])
		}
		data = data[n:]
		if r.done {
			break
		}
		if r.offset += n; r.offset >= maxBytes {
			r.end()
		}
	}
	return r.err
}

// one takes a byte of an item's head.
func (r *Reader) one(b byte) {
	if !r.opening.Seen && r.offset < len(magic) && b != magic[r.offset] {
		r.fail(ErrNotDAX)
		return
	}
	h, complete, err := r.head.add(b)
	if err == nil && complete {
		err = r.stack.check(h)
	}
	if err != nil {
		r.fail(err)
		return
	}
	if !complete {
		return
	}
	if h.ends {
		// The open item ends; its level goes, and it may have been the last of those around it.
		r.stack.n--
		r.itemDone()
		return
	}
	if r.stack.n == 0 {
		r.top, r.nonEmpty = h, false
		r.kept = r.kept[:0]
		if r.step < stepCalls && !r.fits(h) {
			r.fail(ErrNotDAX)
			return
		}
	}
	if (h.major == majorBytes || h.major == majorText) && !h.indefinite {
		r.begin(h)
		return
	}
	if err := r.stack.open(h); err != nil {
		r.fail(err)
		return
	}
	container := h.indefinite || h.major == majorTag || (h.major == majorArray || h.major == majorMap) && h.arg > 0
	if !container {
		r.itemDone()
	}
}

// fits checks the items of the opening, whose kinds are fixed.
func (r *Reader) fits(h head) bool {
	switch r.step {
	case stepMagic, stepSession:
		return h.major == majorText
	case stepAgent:
		return h.major == majorMap
	}
	return h.major == majorUnsigned
}

// begin starts a definite string.
func (r *Reader) begin(h head) {
	r.inString, r.left = true, h.arg
	inAgentMap := r.step == stepAgent && r.stack.n == 1
	r.isKey = inAgentMap && r.stack.levels[0].key
	if inAgentMap {
		r.kept = r.kept[:0]
	}
	switch r.step {
	case stepKeyID, stepStringToSign, stepCallAgent:
		r.keep = r.stack.n == 0 || r.stack.n == 1 && r.stack.levels[0].chunksOf != 0
	default:
		r.keep = r.isKey || inAgentMap && r.agentKey
	}
	r.nonEmpty = r.nonEmpty || h.arg > 0
	if h.arg == 0 {
		r.endString()
	}
}

// content takes bytes of a string.
func (r *Reader) content(data []byte) int {
	n := len(data)
	if uint64(n) > r.left {
		n = int(r.left)
	}
	n = min(n, maxBytes-r.offset)
	for i := 0; !r.opening.Seen && i < n; i++ {
		if data[i] != magic[r.offset+i] {
			r.offset += i
			r.fail(ErrNotDAX)
			return n
		}
	}
	if r.keep {
		if r.kept == nil {
			r.kept = make([]byte, 0, maxKept)
		}
		r.kept = append(r.kept, data[:min(n, maxKept-len(r.kept))]...)
	}
	if r.left -= uint64(n); r.left == 0 {
		r.endString()
	}
	return n
}

func (r *Reader) endString() {
	r.inString = false
	switch {
	case r.isKey:
		r.agentKey = string(r.kept) == "UserAgent"
	case r.step == stepAgent && r.stack.n == 1 && r.agentKey:
		r.agentKey = false
		r.opening.UserAgent = printable(r.kept)
	}
	r.itemDone()
}

// itemDone completes an item, and takes the step if it was one of the top level.
func (r *Reader) itemDone() {
	r.stack.close()
	if r.stack.n > 0 {
		return
	}
	h, o := r.top, &r.opening
	isString := h.major == majorText || h.major == majorBytes
	switch r.step {
	case stepMagic:
		o.Seen = true
	case stepCalls:
		if h.major != majorUnsigned || h.arg != serviceID {
			return
		}
	case stepMethod:
		switch {
		case h.major == majorUnsigned && h.arg == authorizeConnection:
			o.AuthSeen = true
		case h.major == majorUnsigned && h.arg == serviceID:
			return // an argument that looked like a service id, before the real one
		default:
			r.step = stepCalls
			return
		}
	case stepKeyID:
		if isString {
			o.AccessKeyID = session.MaskAccessKey(r.kept)
		}
	case stepSignature:
		o.Signature = isString && r.nonEmpty
	case stepStringToSign:
		if isString {
			o.Region, o.Service = scope(r.kept)
		}
	case stepToken:
		o.SessionToken = isString && r.nonEmpty
	case stepCallAgent:
		if isString && r.nonEmpty {
			o.UserAgent = printable(r.kept)
		}
		o.AuthComplete = true
		r.end()
		return
	}
	r.kept = r.kept[:0]
	r.step++
}

// scope finds DATE/REGION/SERVICE/aws4_request, the third line of a string to sign (AWS Signature Version 4).
func scope(stringToSign []byte) (region, service string) {
	lines := bytes.SplitN(stringToSign, []byte{'\n'}, 4)
	if len(lines) < 3 {
		return "", ""
	}
	parts := bytes.Split(lines[2], []byte{'/'})
	if len(parts) != 4 || string(parts[3]) != "aws4_request" {
		return "", ""
	}
	for _, word := range parts[1:3] {
		for _, b := range word {
			if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
				return "", ""
			}
		}
		if len(word) > 32 {
			return "", ""
		}
	}
	return string(parts[1]), string(parts[2])
}

func printable(b []byte) string {
	b = bytes.Clone(b[:min(len(b), maxUserAgent)])
	for i, x := range b {
		if x < ' ' || x > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
