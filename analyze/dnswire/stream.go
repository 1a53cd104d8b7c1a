package dnswire

// Stream cuts the messages out of one direction of a DNS connection over TCP, where each follows its length in two bytes (RFC 1035,
// Section 4.2.2). The zero value is ready. It is not safe for concurrent use, and holds at most one message, 64 KiB.
type Stream struct {
	head [2]byte
	n    int // bytes of head
	buf  []byte
	left int // bytes of the message still to come, once head is complete
	lost bool
}

// Feed takes the next bytes in order, and returns the next complete message, nil if there is none yet, and the bytes behind it, which
// have to be fed again:
//
//	for len(data) > 0 {
//		var msg []byte
//		if msg, data = s.Feed(data); msg != nil { … }
//	}
//
// A message aliases data, or an inner buffer; it is valid until the next Feed. Messages of no bytes are passed over.
func (s *Stream) Feed(data []byte) (msg, rest []byte) {
	if s.lost {
		return nil, nil
	}
	for len(data) > 0 {
		if s.n < len(s.head) {
			k := copy(s.head[s.n:], data)
			s.n += k
			data = data[k:]
			if s.n < len(s.head) {
				return nil, nil
			}
			s.left = int(s.head[0])<<8 | int(s.head[1])
			s.buf = s.buf[:0]
			if s.left == 0 {
				s.n = 0
			}
			continue
		}
		if len(s.buf) == 0 && len(data) >= s.left {
			msg, data = data[:s.left:s.left], data[s.left:]
			s.n, s.left = 0, 0
			return msg, data
		}
		k := min(s.left, len(data))
		s.buf = append(s.buf, data[:k]...)
		s.left -= k
		data = data[k:]
		if s.left == 0 {
			s.n = 0
			return s.buf, data
		}
	}
	return nil, nil
}

// Gap tells that bytes are missing here. Lengths cannot be found again, so nothing more is read.
func (s *Stream) Gap() {
	s.lost = true
	s.buf = nil
}

// Lost reports whether a gap ended the reading.
func (s *Stream) Lost() bool { return s.lost }
