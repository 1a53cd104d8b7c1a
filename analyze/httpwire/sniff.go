package httpwire

import (
	"bytes"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// Answer is what Sniff says.
type Answer uint8

// The answers.
const (
	NeedMore Answer = iota // too short to tell
	Yes
	No
)

// maxSniff is how many bytes Sniff looks at before it gives up on a start line that has no end: it bounds what a caller has to keep.
const maxSniff = 600

// methods are those whose presence before a path settles the matter (RFC 9110, Section 9; RFC 5789).
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}

// Sniff tells by the first bytes of one side of a connection whether it speaks HTTP/1.x, or opens with the HTTP/2 preface.
//
// Yes is for a well-known method before a path or an http URL, for any other whole request line, and for the front of a status line.
// It never looks at more than 600 bytes, and answers as soon as it can: four bytes settle most foreign protocols.
func Sniff(first []byte, from session.Side) Answer {
	for i := 0; i < 4 && len(first) > 0 && (first[0] == '\r' || first[0] == '\n'); i++ {
		first = first[1:]
	}
	first = first[:min(len(first), maxSniff)]
	if len(first) == 0 {
		return NeedMore
	}
	if from == session.Server {
		return sniffStatus(first)
	}
	n := min(len(first), len(h2Preface))
	if string(first[:n]) == h2Preface[:n] {
		if n == len(h2Preface) {
			return Yes
		}
		return NeedMore
	}
	m := methodLength(first)
	switch {
	case m < 0:
		return No
	case m == 0:
		return NeedMore
	}
	target := first[m+1:]
	if answer := sniffTarget(first[:m], target); answer != NeedMore {
		return answer
	}
	line, complete := firstLine(first)
	switch {
	case complete:
		if method, target, _, ok := parseRequestLine(line); ok && isPlausible(method, target) {
			return Yes
		}
		return No
	case len(first) == maxSniff:
		return No
	}
	return NeedMore
}

// sniffTarget settles the well-known methods, whose lines may be long, without waiting for the line's end.
func sniffTarget(method, target []byte) Answer {
	known := false
	for _, m := range methods {
		known = known || string(method) == m
	}
	if !known || len(target) == 0 {
		return NeedMore
	}
	if target[0] == '/' {
		return Yes
	}
	for _, scheme := range [...]string{"http://", "https://"} {
		if bytes.HasPrefix(target, []byte(scheme)) {
			return Yes
		}
	}
	return NeedMore
}

func sniffStatus(b []byte) Answer {
	const pattern = "HTTP/1.0 000"
	for i := range min(len(b), len(pattern)) {
		if digit := b[i] >= '0' && b[i] <= '9'; pattern[i] == '0' && !digit || pattern[i] != '0' && pattern[i] != b[i] {
			return No
		}
	}
	if len(b) < len(pattern) {
		return NeedMore
	}
	return Yes
}
