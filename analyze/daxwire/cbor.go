package daxwire

import "errors"

// Major types of CBOR (RFC 8949, Section 3.1).
const (
	majorUnsigned = 0
	majorNegative = 1
	majorBytes    = 2
	majorText     = 3
	majorArray    = 4
	majorMap      = 5
	majorTag      = 6
	majorSimple   = 7
)

// maxDepth is how deep items may nest. DynamoDB values nest 32 deep at most, each level of which is two of CBOR's.
const maxDepth = 96

var (
	errReserved = errors.New("reserved additional information")
	errDepth    = errors.New("nested too deeply")
	errBreak    = errors.New("break outside an indefinite-length item")
	errChunk    = errors.New("wrong item inside an indefinite-length string")
)

// head is the front of a data item: its major type and argument. For simple values and floats the argument is as on the wire.
type head struct {
	major      byte
	arg        uint64
	indefinite bool // arrays, maps, strings of unknown length
	ends       bool // the break that ends one
}

// headReader gathers one head, at most nine bytes, over any split.
type headReader struct {
	b    [9]byte
	n    int
	size int // 0 until the first byte is there
}

// add takes one byte and returns the head once it is complete.
func (r *headReader) add(b byte) (h head, complete bool, err error) {
	r.b[r.n] = b
	r.n++
	if r.n == 1 {
		r.size = 1
		switch info := b & 0x1f; {
		case info >= 24 && info <= 27:
			r.size += 1 << (info - 24)
		case info >= 28 && info < 31:
			return h, false, errReserved
		}
	}
	if r.n < r.size {
		return h, false, nil
	}
	h.major = r.b[0] >> 5
	switch info := r.b[0] & 0x1f; {
	case info < 24:
		h.arg = uint64(info)
	case info == 31:
		switch h.major {
		case majorUnsigned, majorNegative, majorTag:
			return h, false, errReserved
		case majorSimple:
			h.ends = true
		default:
			h.indefinite = true
		}
	default:
		for _, x := range r.b[1:r.size] {
			h.arg = h.arg<<8 | uint64(x)
		}
	}
	r.n, r.size = 0, 0
	return h, true, nil
}

// level is one open array, map, tag or indefinite-length string.
type level struct {
	left       uint64 // items still to come, if not indefinite
	indefinite bool
	chunksOf   byte // for an indefinite-length string its major type, else 0
	isMap      bool
	key        bool // map: the next item is a key
}

// nesting keeps the open items, outermost first.
type nesting struct {
	levels [maxDepth]level
	n      int
}

// open is called with each head. It opens what has items inside.
func (s *nesting) open(h head) error {
	l := level{left: h.arg, indefinite: h.indefinite}
	switch {
	case h.major == majorArray:
	case h.major == majorMap:
		l.isMap, l.key = true, true
		if h.arg > 1<<62 {
			return errDepth
		}
		l.left *= 2
	case h.major == majorTag:
		l.left = 1
	case h.indefinite:
		l.chunksOf = h.major
	default:
		return nil
	}
	if !l.indefinite && l.left == 0 {
		return nil
	}
	if s.n == maxDepth {
		return errDepth
	}
	s.levels[s.n] = l
	s.n++
	return nil
}

// check refuses what may not stand where it does: inside an indefinite-length string only definite strings of its type, a break only
// where something is open to be ended.
func (s *nesting) check(h head) error {
	if s.n == 0 {
		if h.ends {
			return errBreak
		}
		return nil
	}
	top := &s.levels[s.n-1]
	switch {
	case h.ends && (!top.indefinite || top.isMap && !top.key):
		return errBreak
	case !h.ends && top.chunksOf != 0 && (h.major != top.chunksOf || h.indefinite):
		return errChunk
	}
	return nil
}

// close is called when an item is complete. It completes the items around it as far as this was their last.
func (s *nesting) close() {
	for s.n > 0 {
		top := &s.levels[s.n-1]
		if top.isMap {
			top.key = !top.key
		}
		if top.indefinite {
			return
		}
		if top.left--; top.left > 0 {
			return
		}
		s.n--
	}
}
