package tlswire

import "github.com/dynwatch/dynwatch/analyze/session"

// Record layer constants (RFC 8446, Section 5; RFC 5246, Section 6.2).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
	recordHeartbeat        = 24

	recordHeader = 5
	// maxRecord is the largest body that a receiver may accept: 2^14 bytes and 2048 for what up to TLS 1.2 adds.
	maxRecord = 16<<10 + 2048
	// maxResync is the largest body that is believed where a reader looks for a record after a hole: 2^14 and 256 (TLS 1.3).
	maxResync = 16<<10 + 256
)

// Sniffed is the answer of Sniff.
type Sniffed uint8

// The answers.
const (
	NeedMore Sniffed = iota // could be, too few bytes to say
	Yes
	No
)

// sniffMax is the number of bytes after which Sniff never says NeedMore.
const sniffMax = 11

// Sniff says whether a stream (or the part of it that was captured) that begins with first could be TLS or SSL, hello or mid-stream.
//
// It looks at no more than 11 bytes, allocates nothing, and is meant for the first bytes of every flow: a Yes to bytes that are
// not TLS comes about once in three million random streams. from is the sender.
func Sniff(first []byte, from session.Side) Sniffed {
	if len(first) == 0 {
		return NeedMore
	}
	if b := first[0]; b >= recordChangeCipherSpec && b <= recordHeartbeat {
		return sniffRecord(first)
	}
	if first[0]&0x80 != 0 {
		return sniffSSL2(first, from)
	}
	return No
}

func sniffRecord(b []byte) Sniffed {
	if len(b) >= 2 && b[1] != 3 || len(b) >= 3 && b[2] > 4 {
		return No
	}
	if len(b) < recordHeader {
		return NeedMore
	}
	n := int(be16(b[3:]))
	switch {
	case n > maxRecord:
		return No
	case b[0] == recordHandshake && n == 0, b[0] == recordChangeCipherSpec && n != 1, b[0] == recordAlert && n < 2:
		return No
	case b[0] == recordHeartbeat && n < 19:
		return No
	case b[0] != recordHandshake || n < 4:
		return Yes
	}
	// A hello in clear has a version at a known place; what else is in a handshake record may be encrypted, so anything goes.
	if len(b) < 6 {
		return NeedMore
	}
	if b[5] != typeClientHello && b[5] != typeServerHello {
		return Yes
	}
	if len(b) < sniffMax {
		return NeedMore
	}
	return Yes
}

// sniffSSL2 looks for a CLIENT-HELLO or SERVER-HELLO in a two-byte record header (draft-hickman-netscape-ssl-00, Sections 2.5, 2.6).
func sniffSSL2(b []byte, from session.Side) Sniffed {
	if len(b) < 3 {
		return NeedMore
	}
	n := int(be16(b) & 0x7fff)
	switch {
	case b[2] == ssl2ClientHello && from == session.Client:
		// type, version, cipher specs length, session id length, challenge length: 9 bytes, then the three
		if len(b) >= 5 && !ssl2Version(be16(b[3:])) {
			return No
		}
		if len(b) < sniffMax {
			return NeedMore
		}
		specs, id, challenge := int(be16(b[5:])), int(be16(b[7:])), int(be16(b[9:]))
		if specs == 0 || specs%3 != 0 || id > 32 || challenge < 8 || challenge > 32 || 9+specs+id+challenge != n {
			return No
		}
		return Yes
	case b[2] == ssl2ServerHello && from == session.Server:
		// type, session id hit, certificate type, version, certificate length, cipher specs length, connection id length: 11 bytes
		if len(b) >= 5 && (b[3] > 1 || b[4] > 1) || len(b) >= 7 && be16(b[5:]) != uint16(session.SSL20) {
			return No
		}
		if len(b) < sniffMax {
			return NeedMore
		}
		if cert, specs := int(be16(b[7:])), int(be16(b[9:])); specs%3 != 0 || 11+cert+specs > n {
			return No
		}
		return Yes
	}
	return No
}

func ssl2Version(v uint16) bool { return v == uint16(session.SSL20) || v>>8 == 3 && v&0xff <= 4 }

// SniffRole says which side sends a stream that begins with first, where a hello in clear tells: a caller that saw no SYN
// may have taken the server for the client. ok is false if first does not begin with a hello.
func SniffRole(first []byte) (from session.Side, ok bool) {
	if len(first) < 6 {
		return 0, false
	}
	if first[0] == recordHandshake && first[1] == 3 {
		switch first[5] {
		case typeClientHello:
			return session.Client, true
		case typeServerHello, typeHelloRetryRequest:
			return session.Server, true
		}
		return 0, false
	}
	for _, side := range [...]session.Side{session.Client, session.Server} {
		if first[0]&0x80 != 0 && sniffSSL2(first, side) == Yes {
			return side, true
		}
	}
	return 0, false
}
