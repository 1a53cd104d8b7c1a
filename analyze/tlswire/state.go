package tlswire

import "fmt"

// State says how much of a handshake message could be read. Absent, unreadable and incomplete are different truths.
type State uint8

// The states, in no order of worth.
const (
	// Absent: no byte of the message was seen.
	Absent State = iota
	// Partial: bytes are missing, by a hole, by the end of the capture, or because the message is larger than MaxMessage.
	// What stands before the first missing byte was used.
	Partial
	// Complete: all bytes were there and the message could be read.
	Complete
	// Unreadable: all bytes were there and they are no such message. What could be read before the fault was used.
	Unreadable
)

var stateNames = [...]string{"absent", "partial", "complete", "unreadable"}

// String is the lower-case word.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// span is a part of a kept message. The zero span is empty; whether the field was there is told elsewhere.
type span struct{ off, n uint32 }

// spanOf locates part inside whole, of which it must be a subslice. Both are bounded by MaxMessage.
func spanOf(whole, part []byte) span {
	if part == nil {
		return span{}
	}
	return span{uint32(cap(whole) - cap(part)), uint32(len(part))}
}

func (s span) of(b []byte) []byte { return b[s.off : s.off+s.n : s.off+s.n] }

// readError is a message that could not be read: the field, and the offset of it or of the fault in the message (its header
// included), as far as it is known.
type readError struct {
	message, field string
	offset         int
	short          bool
}

func (e *readError) Error() string {
	what := "malformed"
	if e.short {
		what = "too short"
	}
	return fmt.Sprintf("%s: %s at offset %d: %s", e.message, e.field, e.offset, what)
}

// list16 decodes a list of 16-bit values; a last odd byte is ignored.
func list16(b []byte) []uint16 {
	if len(b) < 2 {
		return nil
	}
	l := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		l = append(l, be16(b))
	}
	return l
}
