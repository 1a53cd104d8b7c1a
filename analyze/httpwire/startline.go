package httpwire

import (
	"bytes"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// maxMethod is the longest method token that is read (BASELINE-CONTROL, RFC 3253).
const maxMethod = 16

// isTchar reports whether b may be part of a token (RFC 9110, Section 5.6.2).
func isTchar(b byte) bool { return tchars[b] }

var tchars = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[b] = true
	}
	return t
}()

// methodLength is the length of the method token at the front of b, which a space must follow; -1 if it is none, 0 if b is too short to tell.
func methodLength(b []byte) int {
	for i, x := range b {
		if x == ' ' && i > 0 {
			return i
		}
		if i >= maxMethod || !isTchar(x) {
			return -1
		}
	}
	return 0
}

// parseRequestLine splits a request line without its line end: method SP request-target SP HTTP-version (RFC 9112, Section 3).
// Spaces inside the target are taken as part of it, as lenient servers do.
func parseRequestLine(line []byte) (method, target []byte, minor uint8, ok bool) {
	n := methodLength(line)
	end := bytes.LastIndexByte(line, ' ')
	if n <= 0 || end <= n+1 {
		return nil, nil, 0, false
	}
	minor, ok = parseVersion(line[end+1:])
	return line[:n], line[n+1 : end], minor, ok
}

// parseVersion reads HTTP/1.x.
func parseVersion(b []byte) (minor uint8, ok bool) {
	const prefix = "HTTP/1."
	if len(b) != len(prefix)+1 || string(b[:len(prefix)]) != prefix {
		return 0, false
	}
	d := b[len(prefix)] - '0'
	return d, d <= 9
}

// parseStatusLine reads HTTP-version SP status-code, and whatever reason follows (RFC 9112, Section 4).
func parseStatusLine(line []byte) (minor uint8, status int, ok bool) {
	const version, code = len("HTTP/1.1"), len("HTTP/1.1 200")
	if len(line) < code || line[version] != ' ' || len(line) > code && line[code] != ' ' {
		return 0, 0, false
	}
	minor, ok = parseVersion(line[:version])
	n, digits := decimal(line[version+1 : code])
	return minor, int(n), ok && digits && n >= 100
}

// isStartLine reports whether a complete line can begin a message of a side; first that it would be the side's first.
func isStartLine(from session.Side, line []byte, first bool) bool {
	if from == session.Server {
		_, _, ok := parseStatusLine(line)
		return ok
	}
	_, _, _, ok := parseRequestLine(line)
	return ok || first && string(line) == h2Preface
}

// mayStart reports whether an incomplete line can still become a start line.
func mayStart(from session.Side, b []byte) bool {
	if from == session.Client {
		return methodLength(b) >= 0
	}
	const prefix = "HTTP/1."
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// Form is the form of a request target (RFC 9112, Section 3.2).
type Form uint8

// The forms.
const (
	OtherForm     Form = iota // none of the four
	OriginForm                // /path?query
	AbsoluteForm              // http://authority/path?query, to a proxy
	AuthorityForm             // host:port, with CONNECT
	AsteriskForm              // *
)

// String is the RFC's name of the form.
func (f Form) String() string {
	names := [...]string{"other", "origin-form", "absolute-form", "authority-form", "asterisk-form"}
	if int(f) < len(names) {
		return names[f]
	}
	return "other"
}

// splitTarget takes a request target apart. authority still has its userinfo. Path and query are empty where the form has none;
// an absolute-form target without path means "/" (RFC 9110, Section 4.2.3).
func splitTarget(method, target []byte) (form Form, authority, path, query []byte) {
	switch {
	case string(method) == "CONNECT":
		if i := bytes.IndexAny(target, "/?#"); i >= 0 {
			target = target[:i]
		}
		return AuthorityForm, target, nil, nil
	case target[0] == '/':
		form, path = OriginForm, target
	case string(target) == "*":
		return AsteriskForm, nil, target, nil
	default:
		i := bytes.Index(target, []byte("://"))
		if i <= 0 || !isScheme(target[:i]) {
			path = target
			break
		}
		form, authority = AbsoluteForm, target[i+3:]
		path = authority[len(authority):]
		if j := bytes.IndexAny(authority, "/?#"); j >= 0 {
			authority, path = authority[:j], authority[j:]
		}
	}
	if i := bytes.IndexByte(path, '#'); i >= 0 { // a fragment has no place here, and no use
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i+1:]
	}
	if form == AbsoluteForm && len(path) == 0 {
		path = []byte{'/'}
	}
	return form, authority, path, query
}

func isScheme(b []byte) bool {
	for _, x := range b {
		if (x|0x20 < 'a' || x|0x20 > 'z') && (x < '0' || x > '9') && x != '+' && x != '-' && x != '.' {
			return false
		}
	}
	return true
}
