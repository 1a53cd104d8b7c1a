package httpwire

import "bytes"

// Limits of the text that is kept of a head, in bytes; longer values are cut.
const (
	maxHost  = 512
	maxPath  = 1024
	maxValue = 256
)

// Odd tells what was unusual about a head, as a set of bits.
type Odd uint8

// The oddities.
const (
	// OddLengths: Content-Length and Transfer-Encoding together; the latter was believed (RFC 9112, Section 6.3).
	OddLengths Odd = 1 << iota
	// OddHost: several Host fields; the first was taken. Or one with userinfo, which was dropped.
	OddHost
	// OddTarget: several X-Amz-Target fields; the first was taken.
	OddTarget
	// OddLine: a line that is no field, or has space before its colon.
	OddLine
	// OddFold: a field folded over several lines (obs-fold, RFC 9112, Section 5.2).
	OddFold
	// OddLineEnd: a line that ends in LF alone.
	OddLineEnd
)

// Request is one request head. Text holds printable ASCII only, every other byte became "?"; values are cut at sensible lengths.
// No field ever holds a secret: see Credentials.
type Request struct {
	Method string
	Form   Form
	// Major and Minor are the version: 1.0, 1.1, or 2.0.
	Major, Minor uint8
	// Authority is the host, and the port if given, of an absolute-form or CONNECT target or HTTP/2's :authority, without userinfo.
	Authority string
	// Host is the Host field as sent, with port; HostSeen tells an empty one from none.
	Host     string
	HostSeen bool
	// Path is the target's path as sent, without query. "*" in asterisk-form, empty for CONNECT.
	Path string
	// Target is X-Amz-Target, split at its last dot: TargetPrefix "DynamoDB_20120810", TargetOperation "GetItem".
	TargetPrefix, TargetOperation string
	// SmithyProtocol is "rpc-v2-cbor", "rpc-v2-json"; absent otherwise.
	SmithyProtocol string
	ContentType    string
	UserAgent      string
	// ContentLength is -1 without a readable Content-Length. Chunked: the body's transfer coding ends in chunked, whatever the length says.
	ContentLength int64
	Chunked       bool
	// Expect: the client announced to wait for "100 Continue".
	Expect      bool
	Credentials Credentials
	// Resynced: the head was found by its looks after a gap or in the middle of a flow, not at a known message boundary.
	Resynced bool
	Odd      Odd
	// Tables are table names from the body; filled after the head was told, with TableNames, and only with Options.Tables.
	Tables []string
}

var noRequest Request

// Asked is the authority that the client asks for: the target's where it has one, else Host (RFC 9112, Section 3.2.2).
func (r *Request) Asked() string {
	if r.Authority != "" {
		return r.Authority
	}
	return r.Host
}

// flawless reports whether a head found by a guess may count.
func (r *Request) flawless() bool {
	return r.Odd == 0 && (r.Host != "" || r.Form == AuthorityForm && r.Authority != "")
}

// parse fills r from a head that ends with its empty line. Strings equal to prev's are prev's, so that a connection that repeats
// itself costs no allocation. ok is false if the first line is no request line.
func (r *Request) parse(head []byte, prev *Request) (f framing, ok bool) {
	lines := fieldLines{rest: head}
	line, _ := lines.next()
	method, target, minor, ok := parseRequestLine(line)
	if !ok {
		return f, false
	}
	*r = Request{Major: 1, Minor: minor}
	r.Method = keep(prev.Method, method, maxMethod)
	r.setTarget(method, target, prev)
	for {
		name, value, more := lines.field()
		if !more {
			break
		}
		r.field(name, value, prev, &f)
	}
	r.ContentLength, r.Chunked, r.Odd = f.known(), f.chunked, r.Odd|lines.odd|f.odd()
	return f, true
}

// setTarget takes the request target, or HTTP/2's :path.
func (r *Request) setTarget(method, target []byte, prev *Request) {
	form, authority, path, query := splitTarget(method, target)
	r.Form = form
	if authority != nil {
		authority, r.Credentials.UserInfo = dropUserInfo(authority)
		r.Authority = keep(prev.Authority, authority, maxHost)
	}
	r.Path = keep(prev.Path, path, maxPath)
	r.Credentials.query(query, &prev.Credentials)
}

// dropUserInfo cuts user:password@ off an authority (RFC 3986, Section 3.2.1).
func dropUserInfo(authority []byte) (host []byte, had bool) {
	if i := bytes.LastIndexByte(authority, '@'); i >= 0 {
		return authority[i+1:], true
	}
	return authority, false
}

// field takes one field; value is trimmed. Names are told apart by length first, which settles nearly all at no cost.
func (r *Request) field(name, value []byte, prev *Request, f *framing) {
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			r.setHost(value, prev)
		}
	case len("cookie"): // and "expect"
		if equalFold(name, "cookie") {
			r.Credentials.Cookie = true
		} else if equalFold(name, "expect") {
			r.Expect = r.Expect || equalFold(value, "100-continue")
		}
	case len("user-agent"):
		if equalFold(name, "user-agent") {
			r.UserAgent = keep(prev.UserAgent, value, maxValue)
		}
	case len("content-type"):
		if equalFold(name, "content-type") {
			r.ContentType = keep(prev.ContentType, value, maxValue)
		} else if equalFold(name, "x-amz-target") {
			r.setAmzTarget(value, prev)
		}
	case len("authorization"):
		if equalFold(name, "authorization") {
			r.Credentials.authorization(value, &prev.Credentials)
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			f.contentLength(value)
		}
	case len("smithy-protocol"):
		if equalFold(name, "smithy-protocol") {
			r.SmithyProtocol = keep(prev.SmithyProtocol, value, maxValue)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			f.transferEncoding(value)
		}
	case len("proxy-authorization"):
		if equalFold(name, "proxy-authorization") {
			r.Credentials.Proxy = true
			r.Credentials.ProxyScheme = scheme(value)
		}
	case len("x-amz-security-token"):
		if equalFold(name, "x-amz-security-token") && len(value) > 0 {
			r.Credentials.SessionToken = true
		}
	}
}

func (r *Request) setHost(value []byte, prev *Request) {
	if r.HostSeen {
		r.Odd |= OddHost
		return
	}
	r.HostSeen = true
	host, had := dropUserInfo(value)
	if had {
		r.Odd |= OddHost
		r.Credentials.UserInfo = true
	}
	r.Host = keep(prev.Host, host, maxHost)
}

func (r *Request) setAmzTarget(value []byte, prev *Request) {
	if r.TargetPrefix != "" || r.TargetOperation != "" {
		r.Odd |= OddTarget
		return
	}
	prefix, operation := []byte(nil), value
	if i := bytes.LastIndexByte(value, '.'); i >= 0 {
		prefix, operation = value[:i], value[i+1:]
	}
	r.TargetPrefix = keep(prev.TargetPrefix, prefix, maxValue)
	r.TargetOperation = keep(prev.TargetOperation, operation, maxValue)
}
