package dnswire

import "encoding/binary"

// Sizes of the wire format (RFC 1035, Sections 4.1.1-4.1.3).
const (
	headerSize   = 12
	questionTail = 4  // type and class
	recordTail   = 10 // type, class, TTL, length
	maxPointers  = 10 // compression pointers followed within one name, as dnsmessage does
	maxName      = 255
)

const (
	typeCNAME = 5
	typeSVCB  = 64
	typeHTTPS = 65
)

// MightConcern reports whether Parse of msg could give an answer that has a name which want accepts: the question, or the target of an
// alias. It makes one allocation of 256 bytes and stops at the first hit; false is final, true has to be confirmed by Parse.
//
// want gets each name as Parse would give it (lower case, no trailing dot); the slice is valid during the call only.
func MightConcern(msg []byte, want func(name []byte) bool) bool {
	if len(msg) < headerSize || msg[2]&0xf8 != 0x80 || binary.BigEndian.Uint16(msg[4:]) != 1 { // QR set, OPCODE 0, one question
		return false
	}
	var buf [maxName + 1]byte
	name, off, ok := readName(msg, headerSize, buf[:0])
	if !ok || want(name) {
		return ok
	}
	off += questionTail
	for n := int(binary.BigEndian.Uint16(msg[6:])); n > 0; n-- {
		if off, ok = skipName(msg, off); !ok || off+recordTail > len(msg) {
			return false
		}
		kind := binary.BigEndian.Uint16(msg[off:])
		length := int(binary.BigEndian.Uint16(msg[off+8:]))
		target := off + recordTail
		off = target + length
		switch kind {
		case typeSVCB, typeHTTPS:
			target += 2 // priority
			fallthrough
		case typeCNAME:
			if name, _, ok := readName(msg, target, buf[:0]); ok && want(name) {
				return true
			}
		}
	}
	return false
}

// readName appends the name at off to out as hostName would give it, and returns the offset behind it.
func readName(msg []byte, off int, out []byte) (name []byte, next int, ok bool) {
	length, pointers := 0, 0
	for {
		if off >= len(msg) {
			return nil, 0, false
		}
		n := int(msg[off])
		off++
		switch {
		case n == 0:
			if pointers == 0 {
				next = off
			}
			if len(out) == 0 {
				out = append(out, '.')
			}
			return trimDot(out), next, true
		case n < 64:
			if length += n + 1; off+n > len(msg) || length >= maxName {
				return nil, 0, false
			}
			for _, b := range msg[off : off+n] {
				if b == '.' {
					return nil, 0, false // a dot inside a label would make two names look alike
				}
				out = appendName(out, b)
			}
			out = append(out, '.')
			off += n
		case n >= 0xc0:
			if off >= len(msg) {
				return nil, 0, false
			}
			if pointers == 0 {
				next = off + 1
			}
			if pointers++; pointers > maxPointers {
				return nil, 0, false
			}
			off = (n&0x3f)<<8 | int(msg[off])
		default: // reserved
			return nil, 0, false
		}
	}
}

// skipName returns the offset behind the name at off.
func skipName(msg []byte, off int) (next int, ok bool) {
	for off < len(msg) {
		n := int(msg[off])
		off++
		switch {
		case n == 0:
			return off, true
		case n >= 0xc0:
			return off + 1, true
		case n >= 64:
			return 0, false
		}
		off += n
	}
	return 0, false
}
