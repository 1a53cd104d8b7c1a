package pcapfile

import (
	"fmt"
	"io"
)

// stream hands the bytes of one file to a decoder: win is what is at hand, contiguous, and need makes it longer.
//
// Blocks come from src with free room in front of their data. What is left of one block moves into the room of the next, so that
// a record across two blocks is contiguous again and only its first part is copied. Where this does not do (the rest is larger
// than the room, or the next block is still not enough) the bytes wanted are gathered in spill, which grows with bytes that
// arrived, never with lengths that a file states.
type stream struct {
	win []byte // unread bytes at hand; aliases blk or spill
	off int64  // offset of win[0] in the (decompressed) file
	err error  // what comes after all bytes at hand: nil if there may be more, io.EOF, or why reading ended

	src     *blocks
	onBlock func() // called after each block; may be nil
	spill   []byte
	inSpill bool   // win is the end of spill, and then come the bytes blk[taken:]
	blk     []byte // data of the present block, only if inSpill
	taken   int    // bytes of blk that are in spill as well
}

// maxIdleSpill is how many bytes of spill are kept for reuse.
const maxIdleSpill = 1 << 20

// need makes at least n bytes available in win, which moves. It reports false if the stream ends before; then err says how.
func (s *stream) need(n int) bool {
	if s.inSpill && len(s.win) <= s.taken {
		// All that is left in spill lies in the block as well: go on in place.
		s.win = s.blk[s.taken-len(s.win):]
		s.inSpill, s.blk = false, nil
	}
	for len(s.win) < n {
		if s.inSpill && s.taken < len(s.blk) {
			k := min(n-len(s.win), len(s.blk)-s.taken)
			s.spill = append(s.spill, s.blk[s.taken:s.taken+k]...)
			s.taken += k
			s.win = s.spill[len(s.spill)-len(s.win)-k:]
			continue
		}
		if s.err != nil {
			return false
		}
		s.more(n)
	}
	return true
}

// more fetches the next block. The previous one may be overwritten from then on.
func (s *stream) more(n int) {
	s.spill = append(s.spill[:0], s.win...)
	buf, room, err := s.src.next()
	s.err = err
	if s.onBlock != nil {
		s.onBlock()
	}
	k := len(s.spill)
	if k > room || k+len(buf)-room < n {
		s.inSpill, s.blk, s.taken = true, buf[room:], 0
		s.win = s.spill
		return
	}
	s.win = buf[room-k:]
	copy(s.win, s.spill)
	s.inSpill, s.blk = false, nil
	if cap(s.spill) > maxIdleSpill {
		s.spill = nil
	}
}

// advance passes over the first n bytes of win.
func (s *stream) advance(n int) {
	s.win = s.win[n:]
	s.off += int64(n)
}

// skip passes over n bytes without holding them. It reports false if the stream ends before.
func (s *stream) skip(n int64) bool {
	for {
		k := min(n, int64(len(s.win)))
		s.advance(int(k))
		n -= k
		if n == 0 {
			return true
		}
		if !s.need(1) {
			return false
		}
	}
}

// end is the error for a stream that did not have the n bytes of what: io.EOF if it ends right here, as a good file does.
func (s *stream) end(what string, n int) error {
	if len(s.win) == 0 && s.err == io.EOF {
		return io.EOF
	}
	return s.cut(what, n)
}

// cut is the error for a stream that ends inside what, of n bytes.
func (s *stream) cut(what string, n int) error {
	if s.err != io.EOF {
		return s.err
	}
	return fmt.Errorf("%w: %s of %d bytes begins here, but the file has only %d more", ErrTruncated, what, n, len(s.win))
}
