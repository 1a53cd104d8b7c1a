package tlswire

import "github.com/dynwatch/dynwatch/analyze/session"

// Handshake message types (RFC 8446, Section 4; RFC 5246, Section 7.4; IANA "TLS HandshakeType").
const (
	typeHelloRequest          = 0
	typeClientHello           = 1
	typeServerHello           = 2
	typeNewSessionTicket      = 4
	typeEndOfEarlyData        = 5
	typeHelloRetryRequest     = 6 // drafts up to 21
	typeEncryptedExtensions   = 8
	typeCertificate           = 11
	typeServerKeyExchange     = 12
	typeCertificateRequest    = 13
	typeServerHelloDone       = 14
	typeCertificateVerify     = 15
	typeClientKeyExchange     = 16
	typeFinished              = 20
	typeCertificateURL        = 21
	typeCertificateStatus     = 22
	typeSupplementalData      = 23
	typeKeyUpdate             = 24
	typeCompressedCertificate = 25
)

// knownTypes has a bit for each message type that a peer may send; next_protocol (67) is beside it.
const knownTypes = 1<<typeHelloRequest | 1<<typeClientHello | 1<<typeServerHello | 1<<typeNewSessionTicket | 1<<typeEndOfEarlyData |
	1<<typeHelloRetryRequest | 1<<typeEncryptedExtensions | 1<<typeCertificate | 1<<typeServerKeyExchange | 1<<typeCertificateRequest |
	1<<typeServerHelloDone | 1<<typeCertificateVerify | 1<<typeClientKeyExchange | 1<<typeFinished | 1<<typeCertificateURL |
	1<<typeCertificateStatus | 1<<typeSupplementalData | 1<<typeKeyUpdate | 1<<typeCompressedCertificate

func knownType(t uint8) bool { return t < 32 && knownTypes>>t&1 != 0 || t == 67 }

// messages is the handshake layer of one direction: it cuts the content of handshake records into messages (RFC 8446, Section 5.1),
// which may share a record or run over many.
type messages struct {
	// buf holds the message in progress, header included, up to its first missing byte or MaxMessage.
	buf []byte
	// need is the whole length of that message, 0 while its header is not complete; seen counts the bytes passed of it.
	need, seen int
	// hole: bytes after buf are missing. skip: nobody wants the body.
	hole, skip bool
	// lost: the beginning of the next message is not known, because of a hole or because the capture began in mid-stream.
	// The next record that plausibly begins with a message ends this.
	lost bool
	// dead: something that is no handshake was found; nothing more is read.
	dead bool
}

// sink takes messages. msg is the message with its header, valid during the call only; whole is false if its end is missing.
type sink interface {
	message(from session.Side, msg []byte, whole bool)
	// wants reports whether the body of a message of that type is of use.
	wants(from session.Side, typ uint8) bool
	badType(from session.Side, typ uint8)
}

// write takes the next content bytes.
func (m *messages) write(to sink, from session.Side, b []byte) {
	for len(b) > 0 && !m.dead && !m.lost {
		if m.need == 0 && len(m.buf) == 0 && len(b) >= 4 {
			// The usual case: the message lies whole in b and is read in place.
			if !knownType(b[0]) {
				m.dead = true
				to.badType(from, b[0])
				return
			}
			if n := 4 + be24(b[1:]); n <= len(b) && n <= MaxMessage {
				to.message(from, b[:n:n], true)
				b = b[n:]
				continue
			}
		}
		if m.need == 0 {
			k := min(4-len(m.buf), len(b))
			m.buf = append(m.buf, b[:k]...)
			b = b[k:]
			if len(m.buf) < 4 {
				return
			}
			if !knownType(m.buf[0]) {
				m.dead = true
				to.badType(from, m.buf[0])
				return
			}
			m.need, m.seen = 4+be24(m.buf[1:]), 4
			m.skip = !to.wants(from, m.buf[0])
			if !m.skip && cap(m.buf) < m.need {
				// Enough for most messages at once, but never what a hostile length asks for.
				m.buf = append(make([]byte, 0, min(m.need, max(8<<10, len(b)+4))), m.buf...)
			}
		}
		k := min(m.need-m.seen, len(b))
		if !m.skip && !m.hole {
			keep := min(k, MaxMessage-len(m.buf))
			m.buf = append(m.buf, b[:keep]...)
			m.hole = keep < k
		}
		m.seen += k
		b = b[k:]
		if m.seen == m.need {
			m.deliver(to, from)
		}
	}
}

// deliver hands out the message in progress, as far as it is there.
func (m *messages) deliver(to sink, from session.Side) {
	whole := !m.hole && m.seen == m.need
	if m.need != 0 {
		to.message(from, m.buf, whole || m.skip)
	}
	m.buf, m.need, m.seen, m.hole, m.skip = m.buf[:0], 0, 0, false, false
}

// gap steps over n missing content bytes.
func (m *messages) gap(to sink, from session.Side, n int) {
	if m.lost || m.dead || n == 0 {
		return
	}
	if m.need == 0 { // a header is missing, wholly or in part
		m.buf, m.lost = m.buf[:0], true
		return
	}
	m.hole = true
	k := min(n, m.need-m.seen)
	m.seen += k
	if m.seen == m.need {
		m.deliver(to, from)
		if k < n {
			m.lost = true
		}
	}
}

// abort ends the message in progress: no more of it will come, or nobody knows where it ends.
func (m *messages) abort(to sink, from session.Side) {
	if m.need != 0 && m.seen < m.need {
		m.hole = true
		m.deliver(to, from)
	}
	m.buf = m.buf[:0]
	m.lost = true
}

// plausible reports whether a record content of the given length that begins with b (probeMin bytes, or all if it is shorter)
// begins with a handshake message, so surely that a reader who lost the thread may go on there. Encrypted content must not pass.
func plausible(b []byte, length int) bool {
	if len(b) < 4 || length < 4 {
		return false
	}
	n := be24(b[1:])
	rest := length - 4
	switch b[0] {
	case typeServerHelloDone, typeHelloRequest:
		return n == 0 && rest == 0
	case typeClientHello:
		return len(b) >= 6 && n >= 41 && n <= MaxMessage && b[4] == 3 && b[5] <= 4 && (n <= rest || rest > 64)
	case typeServerHello:
		return len(b) >= 6 && n >= 38 && n <= 16<<10 && (b[4] == 3 && b[5] <= 4 || b[4] == 0x7f) && (n <= rest || rest > 64)
	case typeCertificate: // the two lengths agree, and the first certificate fits and is a DER SEQUENCE or nothing
		if len(b) < 10 || n > 1<<20 || be24(b[4:]) != n-3 {
			return len(b) >= 7 && n == 3 && be24(b[4:]) == 0
		}
		return be24(b[7:]) <= n-6 && (len(b) < 11 || b[10] == 0x30)
	case typeServerKeyExchange:
		return n == rest && n >= 8 || n < rest && n >= 32 && len(b) >= 5 && b[4] == 3
	case typeNewSessionTicket:
		return n == rest && len(b) >= 10 && int(be16(b[8:])) == n-6
	case typeClientKeyExchange:
		return n == rest && len(b) >= 6 && (int(b[4]) == n-1 || int(be16(b[4:])) == n-2)
	case typeCertificateRequest, typeCertificateStatus, typeCertificateVerify:
		return n == rest
	}
	return false
}

// probeMin is how many bytes plausible wants to see.
const probeMin = 11
