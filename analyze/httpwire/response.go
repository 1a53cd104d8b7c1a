package httpwire

// Response is one response head.
type Response struct {
	Minor  uint8 // version 1.Minor
	Status int
	// RequestID, CRC32: an x-amzn-RequestId, an x-amz-crc32 field is there.
	RequestID, CRC32 bool
	ContentType      string
	// ContentLength is -1 without a readable Content-Length.
	ContentLength int64
	Chunked       bool
	// ToConnect: it answers a CONNECT request; with a 2xx status the tunnel is open.
	ToConnect bool
	// Resynced: the head was found by its looks after a gap or in the middle of a flow.
	Resynced bool
	Odd      Odd
}

// DynamoDB reports whether the head bears the three marks of a DynamoDB endpoint's answer: x-amzn-RequestId, x-amz-crc32 and
// application/x-amz-json-1.0. It is meant for captures that hold the server's side alone.
func (r *Response) DynamoDB() bool {
	return r.RequestID && r.CRC32 && isAmzJSON(r.ContentType)
}

// parse fills r from a head that ends with its empty line. ok is false if the first line is no status line.
func (r *Response) parse(head []byte) (f framing, ok bool) {
	lines := fieldLines{rest: head}
	line, _ := lines.next()
	minor, status, ok := parseStatusLine(line)
	if !ok {
		return f, false
	}
	prevType := r.ContentType
	*r = Response{Minor: minor, Status: status}
	for {
		name, value, more := lines.field()
		if !more {
			break
		}
		switch len(name) {
		case len("x-amz-crc32"):
			r.CRC32 = r.CRC32 || equalFold(name, "x-amz-crc32")
		case len("content-type"):
			if equalFold(name, "content-type") {
				r.ContentType = keep(prevType, value, maxValue)
			}
		case len("content-length"):
			if equalFold(name, "content-length") {
				f.contentLength(value)
			}
		case len("x-amzn-requestid"):
			r.RequestID = r.RequestID || equalFold(name, "x-amzn-requestid")
		case len("transfer-encoding"):
			if equalFold(name, "transfer-encoding") {
				f.transferEncoding(value)
			}
		}
	}
	r.ContentLength, r.Chunked, r.Odd = f.known(), f.chunked, lines.odd|f.odd()
	return f, true
}

// isAmzJSON reports whether a media type is AWS's JSON 1.0, parameters aside.
func isAmzJSON(contentType string) bool {
	const want = "application/x-amz-json-1.0"
	if len(contentType) > len(want) && contentType[len(want)] != ';' && contentType[len(want)] != ' ' {
		return false
	}
	return len(contentType) >= len(want) && equalFold([]byte(contentType[:len(want)]), want)
}
